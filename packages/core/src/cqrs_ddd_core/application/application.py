"""Composition root: a mediator, its handlers and its background services on one backend."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from ..cqrs import HandlerRegistry, Mediator, Plan
from ..cqrs.pipeline import ensure_middlewares
from ..messages import Command, CommandResponse, Query, QueryResponse
from ..messaging import OutboxRelay
from ..middleware import OutboxMiddleware
from ..ports import IBackend, ICommandBus, IMessagePublisher, IMiddleware, IQueryBus
from ..primitives import background_service, exceptions, shielding
from . import heartbeats
from .health import Health, check_health
from .middlewares import sort_middlewares, standard_middlewares
from .services import IInlineService, IPositionWaiter, IService

R = TypeVar("R")

logger = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_CLOSING = 1.0
"""Seconds that the backend may take to close, although the services used the grace period up."""
RELAY = "outbox relay"
"""Name of the relay among the services."""


class Application(ICommandBus, IQueryBus):
    """Commands, queries and background services on one backend.

    ``async with`` opens the backend and starts the services. Every attribute is an ordinary object
    that can be used alone.

    Args:
        backend: stores of the application.
        middlewares: list in which the middlewares run; by default ``standard_middlewares()``.
        publisher: broker to which a relay publishes the events; without one, no event is saved in
            the outbox.
        relay: relay on ``backend.background`` with options of its own, instead of a publisher.
        services: background services, such as projections.
        handlers: registry to use; by default a new one.
        resolver: creates the handlers that are registered as classes, in a new registry.
        grace: seconds that services may take to stop before they are cancelled; the end of the
            application takes at most two seconds more.

    Attributes:
        backend: the backend.
        handlers: registry of the handlers.
        mediator: mediator that runs the handlers.
        relay: relay of the outbox, or None without a publisher.
        services: background services by name, with the relay and the sender of their heartbeats.

    Raises:
        ConfigError: an argument is a class instead of an object, or two services have one name.
        MiddlewareError: a middleware cannot run, or not at its place in the order.

    Example:
        ```python
        from cqrs_ddd_core import Application, Command, InMemoryBackend

        class Greet(Command[str]):
            name: str

        app = Application(InMemoryBackend())

        @app.command_handler
        async def greet(command: Greet) -> str:
            return f"Hello {command.name}"

        async with app:
            response = await app.send(Greet(name="Ann"))
            assert response.result == "Hello Ann"
        ```
    """

    def __init__(
        self,
        backend: IBackend,
        *,
        middlewares: Sequence[IMiddleware] | None = None,
        publisher: IMessagePublisher | None = None,
        relay: OutboxRelay | None = None,
        services: Sequence[IService] = (),
        handlers: HandlerRegistry | None = None,
        resolver: Callable[[type], Any] | None = None,
        grace: float = 10.0,
    ) -> None:
        exceptions.arguments.ensure_instance(
            backend, IBackend, "backend", example="InMemoryBackend()"
        )
        self.backend = backend
        self.handlers = _create_registry(handlers, resolver)
        self.command_handler = self.handlers.command_handler
        self.query_handler = self.handlers.query_handler
        self.event_handler = self.handlers.event_handler
        self.relay = _resolve_relay(backend, publisher, relay)
        self.services = _bind(services, backend, self.relay)
        self._waiters = [each for each in services if isinstance(each, IPositionWaiter)]
        self._inline = [each for each in services if isinstance(each, IInlineService)]
        if middlewares is not None:
            ensure_middlewares(middlewares)
        steps = standard_middlewares() if middlewares is None else list(middlewares)
        missing = [each.middleware for each in self._inline if each.middleware is not None]
        if self.relay is not None and not any(isinstance(e, OutboxMiddleware) for e in steps):
            missing.append(OutboxMiddleware(backend.signal))
        if missing:
            steps = sort_middlewares(*steps, *missing)
        self.mediator = Mediator(
            self.handlers,
            uow_factory=backend.unit_of_work,
            middlewares=steps,
            query_uow_factory=partial(backend.unit_of_work, read_only=True),
        )
        self._grace = grace
        self._is_open = False
        self._entered: AbstractAsyncContextManager[Application] | None = None

    async def send(self, command: Command[R]) -> CommandResponse[R]:
        """Handle a command, as ``Mediator.send`` does."""
        return await self.mediator.send(command)

    async def query(self, query: Query[R]) -> QueryResponse[R]:
        """Answer a query, as ``Mediator.query`` does."""
        return await self.mediator.query(query)

    def explain(self, message_type: type) -> Plan:
        """Return the steps of sending such a message; see ``Mediator.explain``."""
        return self.mediator.explain(message_type)

    def verify(self) -> None:
        """Raise ``HandlerRegistrationError`` with each message that has no handler, or two."""
        self.handlers.verify()

    async def wait_for(self, position: int | None, *, timeout: float = 5.0) -> None:
        """Wait until the services have processed the events up to a position.

        Args:
            position: position of a ``CommandResponse``; None, for a command without events, returns
                at once.
            timeout: seconds to wait.

        Raises:
            PositionTimeoutError: a service has not processed the events in time.
        """
        if position is None:
            return
        in_time = await asyncio.gather(
            *(each.wait_for(position, timeout=timeout) for each in self._waiters)
        )
        for waiter, reached in zip(self._waiters, in_time, strict=True):
            if not reached:
                raise exceptions.PositionTimeoutError.not_reached(waiter.name, position, timeout)

    async def health(self, *, timeout: float = 2.0) -> Health:
        """Check the services of this process and the backend; an error becomes part of the result.

        Args:
            timeout: seconds to wait for the backend; a backend without an answer is not ready.
        """
        return await check_health(
            self.backend, self.services, self._waiters, is_open=self._is_open, timeout=timeout
        )

    @asynccontextmanager
    async def open(self, *, services: bool = True) -> AsyncIterator["Application"]:
        """Open the backend and start the services; stop and close them at the end.

        Args:
            services: whether to start the services; pass False where another process runs them.

        Raises:
            InvalidOperationError: the application is open.
        """
        if self._is_open:
            raise exceptions.InvalidOperationError(
                "the application is open already; close it first"
            )
        self._is_open = True
        try:
            await self.backend.open()
            try:
                for each in self._inline:
                    await each.prepare()
                if services:
                    for service in self.services.values():
                        await service.start()
                yield self
            finally:
                await self._close()
        finally:
            self._is_open = False

    async def __aenter__(self) -> "Application":
        self._entered = self.open()
        return await self._entered.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        assert self._entered is not None
        await self._entered.__aexit__(*error)

    async def run_services(self) -> None:
        """Open the application and run its services until SIGTERM or SIGINT stops the process."""
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(self._run_until_cancelled())
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, running.cancel)
        try:
            await asyncio.wait({running})
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)
            running.cancel()
        if not running.cancelled():
            running.result()

    async def _run_until_cancelled(self) -> None:
        async with self.open():
            logger.info("running: %s", ", ".join(self.services))
            await asyncio.Event().wait()

    async def _close(self) -> None:
        """Stop the services at the same time, then close the backend, despite cancellations."""
        ended = await shielding.run_to_completion(self._stop())
        if ended.interruption is not None:
            raise ended.interruption
        if ended.error is not None:
            raise ended.error

    async def _stop(self) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._grace
        await asyncio.gather(*(each.stop(self._grace) for each in self.services.values()))
        closing = asyncio.ensure_future(self.backend.close())
        await asyncio.wait({closing}, timeout=max(_CLOSING, deadline - clock()))
        if closing.done():
            closing.result()
        else:
            closing.cancel()
            logger.error("the backend is abandoned: not closed in its grace period")


def _create_registry(
    handlers: HandlerRegistry | None, resolver: Callable[[type], Any] | None
) -> HandlerRegistry:
    if handlers is None:
        return HandlerRegistry(resolver)
    exceptions.arguments.ensure_instance(handlers, HandlerRegistry, "handlers")
    if resolver is not None:
        raise exceptions.ConfigError(
            "resolver is for a new registry, and handlers is one already; pass "
            "handlers=HandlerRegistry(resolver)",
            variable="resolver",
        )
    return handlers


def _resolve_relay(
    backend: IBackend, publisher: IMessagePublisher | None, relay: OutboxRelay | None
) -> OutboxRelay | None:
    if relay is not None:
        exceptions.arguments.ensure_instance(relay, OutboxRelay, "relay")
    if publisher is None:
        return relay
    if relay is not None:
        raise exceptions.ConfigError(
            "publisher= and relay= are both given; pass the publisher to the relay only",
            variable="relay",
        )
    reserved = backend.background
    return OutboxRelay(reserved.outbox, publisher, signal=reserved.signal)


def _bind(
    services: Sequence[IService], backend: IBackend, relay: OutboxRelay | None
) -> Mapping[str, background_service.BackgroundService]:
    exceptions.arguments.ensure_instances(
        services, IService, "services", example="Projections([...])"
    )
    bound: dict[str, background_service.BackgroundService] = {} if relay is None else {RELAY: relay}
    for service in services:
        if service.name in {*bound, heartbeats.NAME}:
            raise exceptions.ConfigError(
                f"two services are named {service.name!r}; give each service a name of its own",
                variable="services",
            )
        bound[service.name] = service.bind(backend)
    if bound:
        bound[heartbeats.NAME] = heartbeats.HeartbeatSender(heartbeats.get_store(backend), bound)
    return bound
