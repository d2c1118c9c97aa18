"""Snapshots of aggregates: strategies that decide when to take one, and checks before its use."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic

from pydantic.errors import PydanticInvalidForJsonSchema

from cqrs_ddd_core import AggregateRoot, IClock, StreamId, UnitOfWork
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.primitives import exceptions as errors
from cqrs_ddd_core.primitives.json_form import JsonForm
from cqrs_ddd_core.spi.inbox import compute_fingerprint
from cqrs_ddd_core.spi.json_fidelity import encode_json, extract_shape
from cqrs_ddd_core.spi.system_clock import SystemClock

from .ports.persistence import T
from .ports.snapshots import ISnapshotStore, Snapshot

__all__ = [
    "AggregateSnapshots",
    "EveryNEventsStrategy",
    "Loading",
    "LoadingTimeStrategy",
    "SnapshotStrategy",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loading:
    """Facts of one load, by which a strategy decides.

    Attributes:
        version: version of the loaded aggregate.
        snapshot_version: version of the snapshot that the load started from, 0 for none.
        seconds: duration of the load.
    """

    version: int
    snapshot_version: int = 0
    seconds: float = 0.0


class SnapshotStrategy(ABC):
    """Strategy that decides after each load; ``one | another`` takes a snapshot if one does."""

    @abstractmethod
    def is_due(self, loading: Loading) -> bool:
        """Report whether a snapshot should be taken of the loaded state."""
        ...

    def __or__(self, other: SnapshotStrategy) -> SnapshotStrategy:
        return _Either(self, other)


@dataclass(frozen=True)
class EveryNEventsStrategy(SnapshotStrategy):
    """Strategy that takes a snapshot when a load had to apply ``n`` events or more.

    Attributes:
        n: number of events, at least 1.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise errors.ConfigError(f"n must be at least 1, got {self.n}")

    def is_due(self, loading: Loading) -> bool:
        """Report whether ``n`` events or more were applied."""
        return loading.version - loading.snapshot_version >= self.n


@dataclass(frozen=True)
class LoadingTimeStrategy(SnapshotStrategy):
    """Strategy that takes a snapshot when a load that applied events took ``seconds`` or longer.

    Attributes:
        seconds: shortest duration of a load after which a snapshot is taken.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise errors.ConfigError(f"seconds must not be negative, got {self.seconds}")

    def is_due(self, loading: Loading) -> bool:
        """Report whether the load applied events and took ``seconds`` or longer."""
        applied = loading.version - loading.snapshot_version
        return applied > 0 and loading.seconds >= self.seconds


class AggregateSnapshots(Generic[T]):
    """Snapshots of the aggregates of one class; an unusable snapshot is a miss, and never an error.

    A snapshot is usable if its schema hash is the hash of the class, its state can be read, and
    its stream has reached its version. ``misses`` counts the misses by reason: ``"another shape"``,
    ``"unreadable"``, ``"beyond the stream"``. The first miss of each reason is logged; each is a
    span ``snapshot.miss``.

    The hash of a snapshot covers the shape of the class, and its ``state_revision`` if it has one:
    raise that number when the same events lead to another state than before.

    Args:
        entity_type: class of the aggregates.
        store: store of the snapshots.
        strategy: decides after a load whether a snapshot is taken; by default every 100 events.
        clock: time of the snapshots; by default the system clock.

    Raises:
        ConfigError: the JSON of the class leaves out or masks a field, or the store is not an
            object.
    """

    def __init__(
        self,
        entity_type: type[T],
        store: ISnapshotStore,
        strategy: SnapshotStrategy | None = None,
        *,
        clock: IClock | None = None,
    ) -> None:
        errors.arguments.ensure_instance(store, ISnapshotStore, "snapshot_store")
        self.entity_type = entity_type
        self.misses: Counter[str] = Counter()
        self._store = store
        self._strategy = strategy or EveryNEventsStrategy(100)
        self._clock = clock or SystemClock()
        self._form = _find_json_form(entity_type)
        self.schema_hash = _compute_schema_hash(entity_type)
        self._is_lossy = False

    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> tuple[dict[StreamId, T], dict[StreamId, int]]:
        """Return the states of usable snapshots, and the versions of the others, by stream.

        A new snapshot replaces an unusable one by its version, see ``save``.
        """
        usable: dict[StreamId, T] = {}
        unusable: dict[StreamId, int] = {}
        for stream, snapshot in (await self._store.load(streams, uow)).items():
            aggregate = self._restore(stream, snapshot)
            if aggregate is None:
                unusable[stream] = snapshot.version
            else:
                usable[stream] = aggregate
        return usable, unusable

    def is_due(self, loading: Loading) -> bool:
        """Report whether the strategy requests a snapshot of the loaded state."""
        return self._strategy.is_due(loading)

    def create(self, aggregate: T) -> Snapshot | None:
        """Return a snapshot of the present state, or None if JSON cannot represent it exactly.

        The state must result from stored events only.
        """
        stream = StreamId(aggregate.aggregate_type, str(aggregate.id))
        try:
            content = self._form.write(aggregate)
            state = encode_json(content, str(stream), type_name=stream[0], allow_nan=True)
        except errors.SerializationError as error:
            if not self._is_lossy:
                self._is_lossy = True
                logger.warning("no snapshot of %s %s: %s", *stream, error)
            return None
        return Snapshot(
            stream=stream,
            version=aggregate.version,
            schema_hash=self.schema_hash,
            state=state,
            taken_at=self._clock.now(),
        )

    async def save(
        self, snapshots: Collection[Snapshot], *, instead_of: Mapping[StreamId, int]
    ) -> None:
        """Save snapshots in one transaction.

        Args:
            snapshots: one snapshot for each stream.
            instead_of: by stream, the version of an unusable snapshot, which is replaced even by an
                earlier one.
        """
        await self._store.save_many(snapshots, instead_of=instead_of)

    def count_miss(self, stream: StreamId, reason: str) -> None:
        """Count an unusable snapshot; log the first of each reason."""
        self.misses[reason] += 1
        if self.misses[reason] == 1:
            logger.warning(
                "the snapshot of %s %s is unusable: %s; the events are replayed, and further "
                "misses are counted without a log line",
                *stream,
                reason,
            )
        with hooks.span("snapshot.miss", aggregate_type=stream.aggregate_type, reason=reason):
            pass

    def _restore(self, stream: StreamId, snapshot: Snapshot) -> T | None:
        # Compare the hash first: the state of another class may fit this class by accident.
        if snapshot.schema_hash != self.schema_hash:
            self.count_miss(stream, "another shape")
            return None
        try:
            aggregate: T = self._form.read_json(snapshot.state)
        except Exception:  # Validators of the class may raise anything.
            self.count_miss(stream, "unreadable")
            return None
        if str(aggregate.id) != stream.aggregate_id or snapshot.version < 1:
            self.count_miss(stream, "unreadable")
            return None
        aggregate.mark_persisted(snapshot.version)
        return aggregate


@dataclass(frozen=True)
class _Either(SnapshotStrategy):
    one: SnapshotStrategy
    other: SnapshotStrategy

    def is_due(self, loading: Loading) -> bool:
        return self.one.is_due(loading) or self.other.is_due(loading)


@lru_cache(maxsize=256)
def _find_json_form(entity_type: type[AggregateRoot]) -> JsonForm[Any]:
    try:
        return JsonForm(entity_type, entity_type.__name__)
    except errors.SerializationError as error:
        raise errors.ConfigError(
            f"{entity_type.__name__} cannot have snapshots: {error}, or load it from its events "
            "only"
        ) from error


@lru_cache(maxsize=256)
def _compute_schema_hash(entity_type: type[AggregateRoot]) -> str:
    try:
        shape = entity_type.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise errors.ConfigError(
            f"{entity_type.__name__} cannot have snapshots: it has no JSON schema ({error}); load "
            "it from its events only, or use fields that are JSON"
        ) from error
    revision: object = getattr(entity_type, "state_revision", 0)
    return compute_fingerprint([extract_shape(shape), revision])
