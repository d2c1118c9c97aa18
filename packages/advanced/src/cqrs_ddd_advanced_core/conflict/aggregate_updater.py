"""One aggregate, changed without a mediator, whoever else changes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cqrs_ddd_core.domain.aggregate import ID, AggregateRoot
from cqrs_ddd_core.ports.clock import IClock, SystemClock
from cqrs_ddd_core.ports.repository import IRepository
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    EntityNotFoundError,
    InvalidOperationError,
    ValidationError,
)
from cqrs_ddd_core.primitives.retry import RetryPolicy

from ..ports.conflict import IMergeStrategy
from .merging import identity
from .retry import CONFLICT_RETRY, retry_on_conflict
from .states import state_of, with_state

T = TypeVar("T", bound=AggregateRoot[Any])
R = TypeVar("R")


class AggregateUpdater(Generic[T, ID]):
    """Loads, changes and saves an aggregate in a unit of work of its own; again after a conflict.

    Args:
        uow_factory: a new unit of work for each try.
        strategy: brings states together, as JSON values; never asked about recorded events.
        retry: how often, and how long to wait; at most 5 tries unless said otherwise.
        clock: waits.
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
        self._repository = repository
        self._uow_factory = uow_factory
        self._strategy = strategy
        self._retry = retry
        self._clock = clock or SystemClock()

    async def update(self, entity_id: ID, decide: Callable[[T], R]) -> R:
        """What ``decide`` answers of the aggregate, once its change is stored.

        After a conflict it decides again on a fresh aggregate; with a strategy, and if it recorded
        no events, its change is merged into the fresh one instead. Raises ``EntityNotFoundError``,
        ``MergeConflictError``, and the last conflict.
        """
        decided: _Decided[T, R] | None = None

        async def attempt(uow: UnitOfWork) -> R:
            nonlocal decided
            if (
                decided is not None
                and decided.base is not None
                and not decided.aggregate.uncommitted_event_count
            ):
                await self._merge(entity_id, decided.base, state_of(decided.aggregate), uow)
                return decided.answer
            aggregate = await self._load(entity_id, uow)
            base = state_of(aggregate) if self._strategy is not None else None
            decided = _Decided(aggregate, base, decide(aggregate))
            await self._repository.add(aggregate, uow)
            return decided.answer

        return await self._in_fresh_units_of_work(entity_id, attempt)

    async def merge(self, entity_id: ID, *, base: Mapping[str, Any], mine: Mapping[str, Any]) -> T:
        """Merges what somebody made of the fields that they saw some time ago; answers the result.

        Both mappings hold the same fields, as ``model_dump(mode="json")`` has them; the others stay
        as they are stored. Raises ``ValidationError`` for a result that the aggregate refuses, and
        as ``handle``.
        """
        if base.keys() != mine.keys():
            raise ValidationError(
                "an edit has to hold the fields that were shown, and no others",
                errors={str(name): ("is in one of the two only",) for name in base.keys() ^ mine},
            )
        return await self._in_fresh_units_of_work(
            entity_id, lambda uow: self._merge(entity_id, base, mine, uow)
        )

    async def _merge(
        self, entity_id: ID, base: Mapping[str, Any], mine: Mapping[str, Any], uow: UnitOfWork
    ) -> T:
        if self._strategy is None:
            raise ConfigError("an edit is merged by a strategy; pass strategy=")
        aggregate = await self._load(entity_id, uow)
        stored = state_of(aggregate)
        _refuse_unknown(aggregate, base.keys() - stored)
        theirs = {name: stored[name] for name in base}
        others = {name: value for name, value in stored.items() if name not in base}
        merged = {**others, **self._strategy.merge(base, theirs, mine)}
        if identity(merged) == identity(stored):
            return aggregate
        changed = with_state(aggregate, merged)
        await self._repository.add(changed, uow)
        if uow.aggregates.has_changed(entity_id) and uow.aggregates.saved_version(changed) is None:
            raise InvalidOperationError(
                f"{type(self._repository).__name__} keeps events, so an edit of the fields of "
                f"{entity_id} would be lost; call handle() with what records an event"
            )
        return changed

    async def _load(self, entity_id: ID, uow: UnitOfWork) -> T:
        aggregate = await self._repository.get(entity_id, uow)
        if aggregate is None:
            name = type(self._repository).__name__
            raise EntityNotFoundError(f"{name} has no {entity_id}", entity_id=entity_id)
        return aggregate

    async def _in_fresh_units_of_work(
        self, entity_id: ID, attempt: Callable[[UnitOfWork], Awaitable[R]]
    ) -> R:
        if get_current_uow() is not None:
            raise InvalidOperationError(
                f"{type(self).__name__} opens units of work of its own, and one is open already; "
                "use ConflictRetryMiddleware for commands"
            )

        async def in_a_fresh_one() -> R:
            async with self._uow_factory() as uow:
                return await attempt(uow)

        return await retry_on_conflict(
            in_a_fresh_one,
            policy=self._retry,
            clock=self._clock,
            subject=type(self._repository).__name__,
            subject_id=entity_id,
        )


@dataclass(frozen=True)
class _Decided(Generic[T, R]):
    """A change that may not have been stored; ``base`` is the state before it, to be merged."""

    aggregate: T
    base: dict[str, Any] | None
    answer: R


def _refuse_unknown(aggregate: AggregateRoot[Any], names: Collection[str]) -> None:
    if names:
        raise ValidationError(
            f"{aggregate.aggregate_type} has no {', '.join(sorted(names))} to edit",
            errors=dict.fromkeys(names, ("is not an attribute",)),
        )
