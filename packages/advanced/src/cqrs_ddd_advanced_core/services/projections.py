"""Projections as a background service of an application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cqrs_ddd_core import ConfigError, InvalidOperationError
from cqrs_ddd_core.application import IPositionWaiter
from cqrs_ddd_core.ports import IBackend

from ..adapters import memory
from ..ports import IDeadLetterStore, IPositionStore, IProjectionStore
from ..projections import ProjectionHandler, ProjectionRegistry, lag, worker

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Projections(IPositionWaiter):
    """Projections that a worker advances in the background of an application.

    Args:
        projections: registry or handlers.
        name: name of the service.
        options: further arguments of ``ProjectionWorker``, such as ``batch`` or ``on_poison``.

    Raises:
        ConfigError: the worker has no option of this name.
        ProjectionError: an item is not a handler, such as the class of a handler.
    """

    def __init__(
        self,
        projections: ProjectionRegistry | Iterable[ProjectionHandler],
        *,
        name: str = "projections",
        **options: Unpack[worker.WorkerOptions],
    ) -> None:
        if unknown := options.keys() - worker.WorkerOptions.__annotations__:
            raise ConfigError(
                f"a ProjectionWorker has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(worker.WorkerOptions.__annotations__)}"
            )
        self.registry = ProjectionRegistry.create(projections)
        self._name = name
        self._options = options
        self._backend: IBackend | None = None

    @property
    def name(self) -> str:
        """Name of the service."""
        return self._name

    @property
    def documents(self) -> IProjectionStore:
        """Store of the documents, on the connections of the application."""
        return self._bound_to().part(IProjectionStore, memory.InMemoryProjectionStore)

    @property
    def positions(self) -> IPositionStore:
        """Positions of the projections, on the connections of the application."""
        return self._bound_to().part(IPositionStore, memory.InMemoryPositionStore)

    def bind(self, backend: IBackend) -> worker.ProjectionWorker:
        """Create the worker on the connections that are reserved for background work."""
        self._backend, reserved = backend, backend.background
        # The units of work of the fakes carry the store once it is a part of the backend.
        reserved.part(IProjectionStore, memory.InMemoryProjectionStore)
        return worker.ProjectionWorker(
            self.registry,
            events=reserved.event_store,
            positions=reserved.part(IPositionStore, memory.InMemoryPositionStore),
            dead_letters=reserved.part(IDeadLetterStore, memory.InMemoryDeadLetterStore),
            uow_factory=reserved.unit_of_work,
            signal=reserved.signal,
            **self._options,
        )

    async def wait_for(self, position: int, *, timeout: float) -> bool:
        """Wait until every projection has processed the events up to a position.

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
            reserved.event_store,
            reserved.part(IPositionStore, memory.InMemoryPositionStore),
            dead_letters=reserved.part(IDeadLetterStore, memory.InMemoryDeadLetterStore),
        )
        return {each.projection: each for each in found}

    def _bound_to(self) -> IBackend:
        if self._backend is None:
            raise InvalidOperationError(
                f"the service {self._name} is not bound; pass it to Application(services=[...])"
            )
        return self._backend
