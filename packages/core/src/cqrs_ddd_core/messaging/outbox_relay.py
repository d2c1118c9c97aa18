"""Relay from the outbox to a broker."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from ..context import system_tenant
from ..instrumentation import hooks
from ..ports import IClock, IMessagePublisher, IQueueSignal, IWorkerLifecycle
from ..ports.outbox import OUTBOX_CHANNEL, ILeasedOutbox, OutboxLease, OutboxMessage
from ..primitives import exceptions as errors
from ..primitives import id_generator, shielding
from ..primitives.background_service import BackgroundService, Loops
from ..primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from ..spi.system_clock import SystemClock
from ..spi.tenancy import open_tenant
from ..spi.waiters import wait_for_notification
from .routing import RoutingPublisher

logger = logging.getLogger(__name__)

_OUTAGE = (OSError, asyncio.TimeoutError, errors.MessagingError)
"""Errors of a broker that cannot be reached."""


class _NotSentError(errors.MessagingError):
    """A message was not passed to its broker, which has just been unavailable."""


@dataclass(frozen=True)
class _Outcome:
    """Result of publishing the messages of one lease: published ids, and the failure if any."""

    lease: OutboxLease
    published: list[str]
    message: OutboxMessage | None = None
    error: Exception | None = None
    publisher: IMessagePublisher | None = None
    """Publisher of the message that failed, if it has one."""

    @property
    def is_outage(self) -> bool:
        """Return whether the broker may be unavailable."""
        return self.publisher is not None and isinstance(self.error, _OUTAGE)


@dataclass
class _Batch:
    """Leases that were claimed together; publishing stops at ``deadline``."""

    leases: Sequence[OutboxLease]
    deadline: float
    is_cancelled: bool = False
    """True once the relay cancels the running publish calls."""


@dataclass(frozen=True)
class _Outage:
    """Broker that cannot be reached, and the time of the next attempt on the monotonic clock."""

    failures: int
    until: float


class OutboxRelay(BackgroundService, IWorkerLifecycle):
    """Relay that publishes the outbox at least once, each partition in order.

    Several relays may run on one outbox. A message is published first and marked afterwards: a
    crash repeats it instead of losing it, and its id stays the same. A message that fails blocks
    its partition, is retried by the ``retry`` policy, and then becomes a dead letter. If no message
    can be published because the broker seems to be down, the relay waits and counts no try. With a
    ``RoutingPublisher`` only the partitions whose next message is for that broker wait.

    A relay publishes the messages of all tenants, each in the request context of its tenant.

    Args:
        outbox: outbox to publish.
        publisher: publishes messages to the broker.
        retry: policy of retries, by default 10 tries with exponential backoff.
        batch: number of messages that are claimed at once.
        lease: seconds after which claimed messages are free for other relays; publishing stops
            before.
        publish_timeout: seconds after which a publish call counts as failed.
        poll_interval: seconds between two reads of an empty outbox.
        signal: wakes the relay before ``poll_interval`` has passed.
        clock: source of time; tests pass their own.
        relay_id: name of this relay in leases, a random id by default.

    Example:
        ```python
        from cqrs_ddd_core import Application, InMemoryBackend, OutboxRelay
        from cqrs_ddd_core.adapters.memory import InMemoryMessageBus

        backend = InMemoryBackend()
        relay = OutboxRelay(backend.background.outbox, InMemoryMessageBus(), batch=50)
        async with relay:
            ...  # Or pass it to Application(backend, relay=relay), which starts and stops it.
        ```
    """

    def __init__(
        self,
        outbox: ILeasedOutbox,
        publisher: IMessagePublisher,
        *,
        retry: RetryPolicy | None = None,
        batch: int = 100,
        lease: float = 30.0,
        publish_timeout: float = 10.0,
        poll_interval: float = 1.0,
        signal: IQueueSignal | None = None,
        clock: IClock | None = None,
        relay_id: str | None = None,
    ) -> None:
        super().__init__()
        errors.arguments.ensure_instance(outbox, ILeasedOutbox, "outbox")
        errors.arguments.ensure_instance(publisher, IMessagePublisher, "publisher")
        if not 0 < publish_timeout < lease:
            raise errors.ConfigError(
                f"publish_timeout must be positive and below lease ({lease} s), got "
                f"{publish_timeout} s"
            )
        self._outbox = outbox
        self._publisher = publisher
        self._retry = retry or ExponentialBackoffPolicy(max_attempts=10, base=1.0, maximum=300.0)
        self._pause = ExponentialBackoffPolicy(base=poll_interval, maximum=30.0)
        self._batch = batch
        self._lease = lease
        self._publish_timeout = publish_timeout
        self._poll_interval = poll_interval
        self._signal = signal
        self._clock = clock or SystemClock()
        self._relay_id = relay_id or id_generator.uuid4_text()
        self._outages: dict[int, _Outage] = {}

    def create_loops(self) -> Loops:
        """Return the loop that publishes batches until the relay stops."""
        return (self._run,)

    async def run_once(self) -> int:
        """Claim, publish and mark one batch; return the number of published messages.

        Raises:
            MessagingError: the only broker seems to be down.
        """
        with system_tenant():
            published, _ = await self._process(await self._claim(), claims_next=False)
        return published

    async def drain(self) -> int:
        """Publish batches until one publishes nothing; return the number of published messages.

        Raises:
            MessagingError: the only broker seems to be down.
        """
        total, batch = 0, None
        with system_tenant():
            while True:
                published, batch = await self._process(
                    batch or await self._claim(), claims_next=True
                )
                if not published and batch is None:
                    return total
                total += published

    async def _run(self) -> None:
        with system_tenant():
            await self._publish_batches()

    async def _publish_batches(self) -> None:
        failures, batch = 0, None
        # If the relay stops with a claimed batch, one more round releases it.
        while batch is not None or not self.is_stopping:
            try:
                published, batch = await self._process(
                    batch or await self._claim(), claims_next=True
                )
                failures = 0
                if not published and batch is None:
                    await self._wait_for_work(self._poll_interval)
            except Exception as error:
                failures, batch = failures + 1, None
                logger.warning("outbox relay: %s, try %d", errors.describe_error(error), failures)
                await self._wait_for_work(self._pause.get_backoff(failures))

    async def _wait_for_work(self, seconds: float) -> None:
        await self.wait(
            wait_for_notification(self._signal, OUTBOX_CHANNEL, seconds, clock=self._clock)
        )

    async def _claim(self) -> _Batch:
        deadline = self._compute_deadline()
        with hooks.span("outbox.claim", relay_id=self._relay_id):
            leases = await self._outbox.claim(self._relay_id, limit=self._batch, lease=self._lease)
        return _Batch(leases, deadline)

    def _compute_deadline(self) -> float:
        return self._clock.monotonic() + self._lease - self._publish_timeout

    async def _process(self, batch: _Batch, *, claims_next: bool) -> tuple[int, _Batch | None]:
        """Publish and mark a batch; return the number of messages, and the next batch."""
        outcomes: list[_Outcome] = []
        last: list[_Outcome] = []
        running = {asyncio.create_task(self._publish(each, batch)) for each in batch.leases}
        try:
            while running:
                # Mark leases as soon as they end, so that none waits for a slow partition.
                await self._mark(last)
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                last = [task.result() for task in ended]
                outcomes += last
        finally:
            batch.is_cancelled = True
            for task in running:
                task.cancel()
        published = sum(len(outcome.published) for outcome in outcomes)
        failures = [outcome for outcome in outcomes if outcome.error is not None]
        if claims_next and published and not failures and not self.is_stopping:
            return published, await self._mark_and_claim(last)
        await self._mark(last)
        down = self._find_outages(outcomes)
        if not isinstance(self._publisher, RoutingPublisher):
            if failures and len(down) == len(failures):
                await self._release_in_outage(failures)
            down = []
        for failure in failures:
            if failure not in down:
                await self._record_failure(failure)
        if not down:
            return published, None
        await self._postpone(down)
        # The next messages may be for another broker.
        return published, await self._claim() if claims_next and not self.is_stopping else None

    def _find_outages(self, outcomes: Sequence[_Outcome]) -> list[_Outcome]:
        """Return the failures at brokers that have accepted no message of the batch."""
        accepted = {
            id(self._find_publisher(message))
            for outcome in outcomes
            for message in outcome.lease.messages[: len(outcome.published)]
        }
        return [
            each
            for each in outcomes
            if isinstance(each.error, _NotSentError)
            or (each.is_outage and id(each.publisher) not in accepted)
        ]

    async def _postpone(self, failures: Sequence[_Outcome]) -> None:
        """Block the keys of unavailable brokers until the next attempt, and count no try."""
        now = self._clock.monotonic()
        for failure in failures:
            place, error = id(failure.publisher), failure.error
            outage = self._outages.get(place, _Outage(0, now))
            is_new = outage.until <= now and not isinstance(error, _NotSentError)
            if error is not None and is_new:
                number = outage.failures + 1
                outage = _Outage(number, now + self._pause.get_backoff(number))
                self._outages[place] = outage
                text = errors.describe_error(error)
                logger.warning(
                    "outbox relay: a broker accepts no message, try %d: %s", number, text
                )
            pause = timedelta(seconds=max(outage.until - now, 0.0))
            await self._outbox.release(failure.lease, retry_at=self._clock.now() + pause)

    def _find_publisher(self, message: OutboxMessage) -> IMessagePublisher:
        if isinstance(self._publisher, RoutingPublisher):
            return self._publisher.find_publisher(message)
        return self._publisher

    async def _release_in_outage(self, failures: Sequence[_Outcome]) -> NoReturn:
        for failure in failures:
            await self._outbox.release(failure.lease)
        error = failures[-1].error
        last = "" if error is None else errors.describe_error(error)
        raise errors.MessagingError(
            f"the broker accepted none of {len(failures)} messages, the last failed with "
            f"{last}; no try is counted"
        )

    async def _publish(self, lease: OutboxLease, batch: _Batch) -> _Outcome:
        """Publish the messages of a lease in order, up to a failure; return the result."""
        with open_tenant(lease.tenant_id):
            return await self._publish_in_order(lease, batch)

    async def _publish_in_order(self, lease: OutboxLease, batch: _Batch) -> _Outcome:
        published: list[str] = []
        for message in lease.messages:
            if self.is_stopping or self._clock.monotonic() >= batch.deadline:
                break
            publisher: IMessagePublisher | None = None
            try:
                publisher = self._find_publisher(message)
                await self._publish_message(message, publisher)
            except asyncio.CancelledError:
                if batch.is_cancelled:
                    raise
                # The client of the broker raised it, for example because its connection closed.
                error = errors.MessagingError("the publisher raised CancelledError")
                return _Outcome(lease, published, message, error, publisher)
            except Exception as error:
                return _Outcome(lease, published, message, error, publisher)
            published.append(message.message_id)
        return _Outcome(lease, published)

    async def _publish_message(self, message: OutboxMessage, publisher: IMessagePublisher) -> None:
        outage = self._outages.get(id(publisher))
        if outage is not None and self._clock.monotonic() < outage.until:
            raise _NotSentError("the broker was unavailable a moment ago")
        kind, id_ = message.event_type, message.message_id
        with hooks.span("outbox.publish", message_type=kind, message_id=id_):
            await shielding.timeout_after(self._publish_timeout, publisher.publish(message))
        self._outages.pop(id(publisher), None)

    async def _mark(self, outcomes: list[_Outcome]) -> None:
        whole = [(e.lease, e.published) for e in outcomes if e.error is None]
        if whole:
            _log_lost(await self._outbox.complete_batch(whole))
        for outcome in outcomes:
            if outcome.error is not None and outcome.published:
                try:
                    await self._outbox.complete(outcome.lease, outcome.published)
                except errors.LeaseLostError as error:
                    logger.warning("outbox relay: %s", error)

    async def _mark_and_claim(self, outcomes: list[_Outcome]) -> _Batch:
        deadline = self._compute_deadline()
        with hooks.span("outbox.claim", relay_id=self._relay_id):
            lost, leases = await self._outbox.complete_and_claim(
                [(outcome.lease, outcome.published) for outcome in outcomes],
                self._relay_id,
                limit=self._batch,
                lease=self._lease,
            )
        _log_lost(lost)
        return _Batch(leases, deadline)

    async def _record_failure(self, failure: _Outcome) -> None:
        message, error = failure.message, failure.error
        assert message is not None
        assert error is not None
        tries = message.retry_count + 1
        is_poison = errors.classify_error(error) is not errors.ErrorClass.TRANSIENT
        gives_up = is_poison or not self._retry.should_retry(tries, error)
        pause = timedelta(seconds=self._retry.get_backoff(tries))
        try:
            await self._outbox.fail(
                failure.lease,
                message.message_id,
                errors.describe_error(error),
                retry_at=None if gives_up else self._clock.now() + pause,
            )
        except errors.LeaseLostError as lost:
            logger.warning("outbox relay: %s", lost)
            return
        if gives_up:
            logger.error(
                "outbox message %s is a dead letter after %d tries: %s; retry or discard it",
                message.message_id,
                tries,
                errors.describe_error(error),
            )


def _log_lost(leases: Sequence[OutboxLease]) -> None:
    # Another relay publishes these messages again; receivers recognise their ids.
    for lease in leases:
        logger.warning(
            "outbox relay: the lease of key %s ended; another relay publishes it now", lease.key
        )
