"""A transaction over the fakes, those of this package among them."""

from __future__ import annotations

from cqrs_ddd_core.adapters.memory import InMemoryEventStore, InMemoryInbox, InMemoryOutboxStorage
from cqrs_ddd_core.adapters.memory import InMemoryUnitOfWork as CoreInMemoryUnitOfWork
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ...ports.projections import IProjectionStoreProvider
from .projections import InMemoryProjectionStore


class InMemoryUnitOfWork(CoreInMemoryUnitOfWork, IProjectionStoreProvider):
    """As in core, and it carries a projection store."""

    def __init__(
        self,
        event_store: InMemoryEventStore | None = None,
        outbox: InMemoryOutboxStorage | None = None,
        inbox: InMemoryInbox | None = None,
        *,
        projections: InMemoryProjectionStore | None = None,
    ) -> None:
        super().__init__(event_store, outbox, inbox)
        self._projections = projections

    @property
    def projections(self) -> InMemoryProjectionStore:
        if self._projections is None:
            raise InvalidOperationError(
                "this unit of work has no projection store; make it with "
                "InMemoryUnitOfWork(projections=InMemoryProjectionStore())"
            )
        return self._projections
