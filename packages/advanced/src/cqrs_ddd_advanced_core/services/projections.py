"""Projections as a background service of an application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cqrs_ddd_core import ConfigError, InvalidOperationError
from cqrs_ddd_core.application import IInlineService, IPositionWaiter
from cqrs_ddd_core.ports import IBackend

from .. import ports
from ..adapters import memory
from ..projections import (
    InlineProjectionMiddleware,
    ProjectionHandler,
    ProjectionRegistry,
    lag,
    rebuild,
    worker,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Projections(IPositionWaiter, IInlineService):
    """Projections of an application, in the background or in the transaction of each command.

    Args:
        projections: registry or handlers that a worker advances in the background.
        inline: registry or handlers that commands advance, by ``InlineProjectionMiddleware``.
        name: name of the service.
        options: further arguments of ``ProjectionWorker``, such as ``batch`` or ``on_poison``.

    Raises:
        ConfigError: the worker has no option of this name.
        ProjectionError: an item is not a handler, such as the class of a handler.

    Example:
        ```python
        from cqrs_ddd_advanced_core import ProjectionHandler, Projections
        from cqrs_ddd_core import Application, DomainEvent, InMemoryBackend

        class Deposited(DomainEvent):
            cents: int

        class Balances(ProjectionHandler):
            collection = "balances"

            def apply_Deposited(self, event: Deposited, documents) -> None:
                balance = documents.get(event.aggregate_id) or {"cents": 0}
                documents.upsert(event.aggregate_id, {"cents": balance["cents"] + event.cents})

        projections = Projections([Balances()])
        app = Application(InMemoryBackend(), services=[projections])
        ```
    """

    def __init__(
        self,
        projections: ProjectionRegistry | Iterable[ProjectionHandler],
        *,
        inline: ProjectionRegistry | Iterable[ProjectionHandler] = (),
        name: str = "projections",
        **options: Unpack[worker.WorkerOptions],
    ) -> None:
        if unknown := options.keys() - worker.WorkerOptions.__annotations__:
            raise ConfigError(
                f"a ProjectionWorker has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(worker.WorkerOptions.__annotations__)}"
            )
        self.registry = ProjectionRegistry.create(projections)
        self._inline = ProjectionRegistry.create(inline)
        self._name = name
        self._options = options
        self._backend: IBackend | None = None
        self._middleware: InlineProjectionMiddleware | None = None

    @property
    def name(self) -> str:
        """Name of the service."""
        return self._name

    @property
    def documents(self) -> ports.IProjectionStore:
        """Store of the documents, on the connections of the application."""
        return _get_documents(self._bound_to())

    @property
    def positions(self) -> ports.IPositionStore:
        """Positions of the projections, on the connections of the application."""
        return _get_positions(self._bound_to())

    @property
    def dead_letters(self) -> ports.IDeadLetterStore:
        """Dead letters of the projections, on the connections of the application."""
        return _get_dead_letters(self._bound_to())

    @property
    def middleware(self) -> InlineProjectionMiddleware | None:
        """Middleware of the inline projections, or None without any."""
        return self._middleware

    def bind(self, backend: IBackend) -> worker.ProjectionWorker:
        """Create the worker on the connections that are reserved for background work."""
        self._backend = backend
        # The units of work of the fakes carry the store once it is a part of the backend.
        _get_documents(backend.background)
        if any(self._inline):
            self._middleware = InlineProjectionMiddleware(self._inline, positions=self.positions)
        return self.create_worker()

    async def prepare(self) -> None:
        """Create missing collections, and register the inline projections.

        The documents of another version of a projection stay until a rebuild.

        Raises:
            ProjectionStoreError: a collection exists with other fields.
            ProjectionVersionError: workers run an inline projection.
        """
        if self._middleware is not None:
            await self._middleware.prepare(self._bound_to().unit_of_work)
        for handler in await self.registry.find_live(self.positions):
            await self.documents.ensure_collection(handler.collection, handler.fields or None)

    def create_worker(self) -> worker.ProjectionWorker:
        """Return another worker of the background projections, for example to ``drain`` it."""
        reserved = self._bound_to().background
        return worker.ProjectionWorker(
            self.registry,
            events=reserved.event_store,
            positions=_get_positions(reserved),
            dead_letters=_get_dead_letters(reserved),
            uow_factory=reserved.unit_of_work,
            signal=reserved.signal,
            **self._options,
        )

    def create_rebuild(
        self, handler: ProjectionHandler, *, on_progress: rebuild.OnProgress | None = None
    ) -> rebuild.ProjectionRebuild:
        """Return a rebuild of a projection, with the lease of the worker.

        Args:
            handler: handler of a background or inline projection.
            on_progress: called after each batch.
        """
        reserved = self._bound_to().background
        return rebuild.ProjectionRebuild(
            handler,
            events=reserved.event_store,
            positions=_get_positions(reserved),
            dead_letters=_get_dead_letters(reserved),
            uow_factory=reserved.unit_of_work,
            lease=self._options.get("lease", 30.0),
            on_progress=on_progress,
        )

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Wait until every background projection has processed the events up to a position.

        Args:
            position: global position of an event.
            timeout: seconds to wait.
        """
        collections = [handler.collection for handler in self.registry]
        return await self.positions.wait_until(position, collections, timeout=timeout)

    async def measure_lag(self) -> Mapping[str, lag.ProjectionLag]:
        """Return the lag of each projection that has a position, by name."""
        reserved = self._bound_to().background
        found = await lag.measure_projection_lag(
            reserved.event_store, _get_positions(reserved), dead_letters=_get_dead_letters(reserved)
        )
        return {each.projection: each for each in found}

    def _bound_to(self) -> IBackend:
        if self._backend is None:
            raise InvalidOperationError(
                f"the service {self._name} is not bound; pass it to Application(services=[...])"
            )
        return self._backend


def _get_documents(backend: IBackend) -> ports.IProjectionStore:
    return backend.part(ports.IProjectionStore, memory.InMemoryProjectionStore)


def _get_positions(backend: IBackend) -> ports.IPositionStore:
    return backend.part(ports.IPositionStore, memory.InMemoryPositionStore)


def _get_dead_letters(backend: IBackend) -> ports.IDeadLetterStore:
    return backend.part(ports.IDeadLetterStore, memory.InMemoryDeadLetterStore)
