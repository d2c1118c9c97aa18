"""The snapshots of one type of aggregate."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic.errors import PydanticInvalidForJsonSchema

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.instrumentation import hooks
from cqrs_ddd_core.ports.clock import IClock
from cqrs_ddd_core.ports.event_store import StreamId
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork
from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_core.spi.inbox import compute_fingerprint
from cqrs_ddd_core.spi.json_fidelity import attributes_lost_in_json, holds_the_same, shape_in
from cqrs_ddd_core.spi.system_clock import SystemClock

from ..ports.snapshots import ISnapshotStore, Snapshot
from .strategies import EveryNEventsStrategy, Loading, SnapshotStrategy

T = TypeVar("T", bound=AggregateRoot)

logger = logging.getLogger(__name__)


class AggregateSnapshots(Generic[T]):
    """Snapshots of ``entity_type``; what cannot be used is passed over, and never an error.

    ``misses`` counts what was passed over, by reason: ``"another shape"``, ``"unreadable"``,
    ``"beyond the stream"``. The first of each reason is logged; each is a span
    ``snapshot.miss`` for the hooks. Raises ``ConfigError`` for a type whose JSON loses something.

    The hash of a snapshot tells the shape of the class, and ``state_revision`` of the class where
    it has one: raise that number when the same events make another state than before.
    """

    def __init__(
        self,
        entity_type: type[T],
        store: ISnapshotStore,
        strategy: SnapshotStrategy | None = None,
        *,
        clock: IClock | None = None,
    ) -> None:
        self.entity_type = entity_type
        self.misses: Counter[str] = Counter()
        self._store = store
        self._strategy = strategy or EveryNEventsStrategy(100)
        self._clock = clock or SystemClock()
        self.schema_hash = _hash_of(entity_type)
        self._is_lossy = False

    async def load(
        self, streams: Collection[StreamId], uow: UnitOfWork | None = None
    ) -> tuple[dict[StreamId, T], dict[StreamId, int]]:
        """The states that can be used, by stream; and the versions of those that cannot."""
        usable: dict[StreamId, T] = {}
        unusable: dict[StreamId, int] = {}
        for stream, snapshot in (await self._store.load(streams, uow)).items():
            aggregate = self._revived(stream, snapshot)
            if aggregate is None:
                unusable[stream] = snapshot.version
            else:
                usable[stream] = aggregate
        return usable, unusable

    def is_due(self, loading: Loading) -> bool:
        return self._strategy.is_due(loading)

    def create(self, aggregate: T) -> Snapshot | None:
        """Of its present state, made by events alone; None where JSON would change it."""
        stream = StreamId(aggregate.aggregate_type, str(aggregate.id))
        try:
            state = aggregate.model_dump_json(
                round_trip=True, by_alias=True, warnings=False
            ).encode()
            revived: T | None = self._read(state)
        except Exception:  # Of any kind, from the validators and serialisers of the class.
            state, revived = b"", None
        if not holds_the_same(revived, aggregate):
            if not self._is_lossy:
                self._is_lossy = True
                logger.warning(
                    "no snapshot of %s %s: it does not come back from JSON as it is", *stream
                )
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
        """In one transaction; also where one of the version in ``instead_of`` is later."""
        await self._store.save_many(snapshots, instead_of=instead_of)

    def count_miss(self, stream: StreamId, reason: str) -> None:
        """Count a snapshot that was of no use."""
        self.misses[reason] += 1
        if self.misses[reason] == 1:
            logger.warning(
                "the snapshot of %s %s is of no use: %s; the events are replayed, and further "
                "ones are counted without a word",
                *stream,
                reason,
            )
        with hooks.span("snapshot.miss", aggregate_type=stream.aggregate_type, reason=reason):
            pass

    def _read(self, state: bytes) -> T:
        # Not strict, whatever the class says: JSON has no times, no tuples and no bytes.
        return self.entity_type.model_validate_json(state, strict=False)

    def _revived(self, stream: StreamId, snapshot: Snapshot) -> T | None:
        # The header first: what another class wrote may fit this one by accident.
        if snapshot.schema_hash != self.schema_hash:
            self.count_miss(stream, "another shape")
            return None
        try:
            aggregate = self._read(snapshot.state)
        except Exception:  # Of any kind, from the validators of the class.
            self.count_miss(stream, "unreadable")
            return None
        if str(aggregate.id) != stream.aggregate_id or snapshot.version < 1:
            self.count_miss(stream, "unreadable")
            return None
        aggregate.mark_persisted(snapshot.version)
        return aggregate


@lru_cache(maxsize=256)
def _hash_of(entity_type: type[AggregateRoot]) -> str:
    name = entity_type.__name__
    lost = attributes_lost_in_json(entity_type)
    if lost:
        raise ConfigError(
            f"{name} cannot have snapshots: its JSON leaves out or masks {', '.join(lost)}; load "
            "it from its events alone, or use fields without exclude=True and Secret types"
        )
    try:
        shape = entity_type.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(
            f"{name} cannot have snapshots: it has no JSON schema ({error}); load it from its "
            "events alone, or use fields that are JSON"
        ) from error
    revision: object = getattr(entity_type, "state_revision", 0)
    return compute_fingerprint([shape_in(shape), revision])
