"""Changes of one aggregate outside a mediator, with a retry or a merge after a conflict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic

import pydantic

from cqrs_ddd_core import ID, AggregateRoot, IClock, IRepository, UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.json_form import JsonForm
from cqrs_ddd_core.primitives.retry import RetryPolicy
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..ports.conflict import IMergeStrategy
from ..ports.persistence import R, T
from .merge_strategies import freeze
from .retry import CONFLICT_RETRY, retry_on_conflict

State = dict[str, object]
"""Fields of an aggregate as JSON values."""


class AggregateUpdater(Generic[T, ID]):
    """Service that loads, changes and saves one aggregate in a unit of work of its own.

    Args:
        repository: repository of the aggregates.
        uow_factory: creates the unit of work of each attempt.
        strategy: merges two states as JSON values; without one, a conflict makes ``update`` decide
            again. Events that ``decide`` recorded are never merged.
        retry: number of attempts and pauses between them; by default at most 5 attempts.
        clock: waits between attempts; by default the system clock.
    """

    def __init__(
        self,
        repository: IRepository[T, ID],
        *,
        uow_factory: Callable[[], UnitOfWork],
        strategy: IMergeStrategy | None = None,
        retry: RetryPolicy = CONFLICT_RETRY,
        clock: IClock | None = None,
    ) -> None:
        errors.arguments.ensure_instance(repository, IRepository, "repository")
        errors.arguments.ensure_factory(
            uow_factory, UnitOfWork, "uow_factory", example="backend.unit_of_work"
        )
        self._repository = repository
        self._uow_factory = uow_factory
        self._strategy = strategy
        self._retry = retry
        self._clock = clock or SystemClock()

    async def update(self, entity_id: ID, decide: Callable[[T], R]) -> R:
        """Change the aggregate by calling ``decide``, save it, and return the result of ``decide``.

        After a conflict ``decide`` runs again on the reloaded aggregate. With a strategy, and if
        ``decide`` recorded no events, its change is merged into the reloaded aggregate instead.

        Args:
            entity_id: id of the aggregate.
            decide: changes the loaded aggregate.

        Raises:
            EntityNotFoundError: the aggregate does not exist.
            MergeConflictError: the strategy cannot merge.
            ConcurrencyError: the last conflict, when the retry policy gives up.
            InvalidOperationError: within an open unit of work, which a retry could not replace.
        """
        decided: _Decision[T, R] | None = None

        async def attempt(uow: UnitOfWork) -> R:
            nonlocal decided
            if decided is not None and decided.base is not None and not decided.has_events:
                await self._merge(entity_id, decided.base, dump_state(decided.aggregate), uow)
                return decided.result
            aggregate = await self._load(entity_id, uow)
            base = None if self._strategy is None else dump_state(aggregate)
            decided = _Decision(aggregate, base, decide(aggregate))
            await self._repository.add(aggregate, uow)
            return decided.result

        return await self._retry_in_new_uow(entity_id, attempt)

    async def merge(
        self, entity_id: ID, *, base: Mapping[str, object], mine: Mapping[str, object]
    ) -> T:
        """Merge an edit of fields that a user read some time ago, and return the stored aggregate.

        Other fields keep their stored values.

        Args:
            entity_id: id of the aggregate.
            base: fields as the user read them, in the form of ``model_dump(mode="json")``.
            mine: the same fields as the user edited them.

        Raises:
            ValidationError: the merged fields are not valid for the aggregate.
            EntityNotFoundError: the aggregate does not exist.
            MergeConflictError: the strategy cannot merge.
            ConcurrencyError: the last conflict, when the retry policy gives up.
            InvalidOperationError: within an open unit of work, and for a repository that keeps
                events.
        """
        if base.keys() != mine.keys():
            raise errors.ValidationError(
                "base and mine must have the same fields; pass the fields that the user was shown",
                errors={
                    str(name): ("is missing in base or in mine",) for name in base.keys() ^ mine
                },
            )
        return await self._retry_in_new_uow(
            entity_id, lambda uow: self._merge(entity_id, base, mine, uow)
        )

    async def _merge(
        self, entity_id: ID, base: Mapping[str, object], mine: Mapping[str, object], uow: UnitOfWork
    ) -> T:
        if self._strategy is None:
            raise errors.ConfigError("cannot merge an edit without a strategy; pass strategy=")
        aggregate = await self._load(entity_id, uow)
        stored = dump_state(aggregate)
        if unknown := base.keys() - stored:
            raise errors.ValidationError(
                f"{aggregate.aggregate_type} has no {', '.join(sorted(unknown))} to edit",
                errors=dict.fromkeys(unknown, ("is not an attribute",)),
            )
        theirs = {name: stored[name] for name in base}
        others = {name: value for name, value in stored.items() if name not in base}
        state = {**others, **self._strategy.merge(base, theirs, mine)}
        if freeze(state) == freeze(stored):
            return aggregate
        changed = replace_state(aggregate, state)
        await self._repository.add(changed, uow)
        if (
            uow.aggregates.has_changed(entity_id)
            and uow.aggregates.get_saved_version(changed) is None
        ):
            raise errors.InvalidOperationError(
                f"{type(self._repository).__name__} keeps events, so an edit of the fields of "
                f"{entity_id} would be lost; call update() with a function that records an event"
            )
        return changed

    async def _load(self, entity_id: ID, uow: UnitOfWork) -> T:
        aggregate = await self._repository.get(entity_id, uow)
        if aggregate is None:
            repository = type(self._repository).__name__
            raise errors.EntityNotFoundError.missing_from(repository, entity_id)
        return aggregate

    async def _retry_in_new_uow(
        self, entity_id: ID, attempt: Callable[[UnitOfWork], Awaitable[R]]
    ) -> R:
        if get_current_uow() is not None:
            raise errors.InvalidOperationError(
                f"{type(self).__name__} opens its own units of work, and one is open already; use "
                "ConflictRetryMiddleware for commands"
            )

        async def attempt_in_new_uow() -> R:
            async with self._uow_factory() as uow:
                return await attempt(uow)

        return await retry_on_conflict(
            attempt_in_new_uow,
            policy=self._retry,
            clock=self._clock,
            subject=type(self._repository).__name__,
            subject_id=entity_id,
        )


@dataclass(frozen=True)
class _Decision(Generic[T, R]):
    """Change that may not have been stored; ``base`` is the state before it, for a merge."""

    aggregate: T
    base: State | None
    result: R

    @property
    def has_events(self) -> bool:
        return bool(self.aggregate.uncommitted_event_count)


def dump_state(aggregate: AggregateRoot) -> State:
    """Return the fields of an aggregate as JSON values.

    Raises:
        ConfigError: JSON never keeps a field of the class.
        SerializationError: JSON cannot represent the state exactly.
    """
    try:
        state: State = _find_json_form(type(aggregate)).write(aggregate)
    except errors.SerializationError as error:
        raise errors.SerializationError(
            f"{aggregate.aggregate_type} {aggregate.id} cannot be merged: {error}, or leave the "
            "strategy out, so that the decision is repeated",
            type_name=error.type_name,
            field=error.field,
        ) from error
    return state


def replace_state(aggregate: T, state: State) -> T:
    """Return a copy of the aggregate with these fields, at the same version."""
    name = f"{aggregate.aggregate_type} {aggregate.id}"
    try:
        changed: T = _find_json_form(type(aggregate)).read(state)
    except pydantic.ValidationError as error:
        raise errors.ValidationError.from_pydantic(
            f"{name} would not be valid", error
        ) from errors.ConcealedError(error)
    if changed.id != aggregate.id:
        raise errors.ValidationError(f"{name} keeps its id", errors={"id": ("cannot be changed",)})
    if aggregate.is_persisted:
        changed.mark_persisted(aggregate.version)
    return changed


@cache
def _find_json_form(kind: type[AggregateRoot]) -> JsonForm[Any]:
    try:
        return JsonForm(kind, kind.__name__)
    except errors.SerializationError as error:
        raise errors.ConfigError(
            f"{kind.__name__} cannot be merged: {error}, or leave the strategy out"
        ) from error
