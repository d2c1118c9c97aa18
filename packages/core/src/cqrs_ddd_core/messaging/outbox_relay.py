"""From the outbox to a broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..ports import IClock, IMessagePublisher, IQueueSignal, IWorkerLifecycle
from ..ports.outbox import OUTBOX_CHANNEL, ILeasedOutbox, OutboxLease, OutboxMessage
from ..primitives import exceptions as errors
from ..primitives.background_service import BackgroundService
from ..primitives.id_generator import uuid4_text
from ..primitives.retry import ExponentialBackoffPolicy, RetryPolicy
from ..primitives.shielding import timeout_after
from ..spi.system_clock import SystemClock

logger = logging.getLogger(__name__)

_OUTAGE = (OSError, asyncio.TimeoutError, errors.MessagingError)
"""What a broker that cannot be reached looks like."""


@dataclass(frozen=True)
class _Ending:
    """How far a lease got: the ids that were published, and what stopped at which message."""

    lease: OutboxLease
    published: list[str]
    message: OutboxMessage | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class _Batch:
    """What was claimed at once; ``deadline`` is when to stop publishing it."""

    leases: Sequence[OutboxLease]
    deadline: float


class OutboxRelay(BackgroundService, IWorkerLifecycle):
    """Publishes what is in the outbox, at least once, each partition in order.

    Several may run on one outbox. A message is published first and marked afterwards: a crash
    repeats it instead of losing it, and its id stays the same. One that fails holds its partition
    back, is tried again as ``retry`` says, and is parked when that gives up. When nothing can be
    published and the broker seems to be away, the relay waits, and no try is counted.

    Args:
        batch: how many messages are claimed at once.
        lease: seconds for which claimed messages are ours; publishing stops before they end.
        publish_timeout: seconds after which a publisher that hangs has failed.
        poll_interval: seconds between looks into an empty outbox; ``signal`` wakes it earlier.
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
        self._relay_id = relay_id or uuid4_text()

    def loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        return (self._run(),)

    async def run_once(self) -> int:
        """Claim, publish and mark one batch; answers how many messages were published.

        Raises ``MessagingError`` when the broker seems to be away.
        """
        published, _ = await self._work_off(await self._claim(), goes_on=False)
        return published

    async def drain(self) -> int:
        """Batch after batch until one publishes nothing; answers how many messages were published.

        Raises ``MessagingError`` when the broker seems to be away.
        """
        total, batch = 0, None
        while True:
            published, batch = await self._work_off(batch or await self._claim(), goes_on=True)
            if not published:
                return total
            total += published

    async def _run(self) -> None:
        failures, batch = 0, None
        # What is claimed when the relay stops is given back by one more round.
        while batch is not None or not self.is_stopping:
            try:
                published, batch = await self._work_off(batch or await self._claim(), goes_on=True)
                failures = 0
                if not published:
                    await self.wait(self._pause_for(self._poll_interval))
            except Exception as error:
                failures, batch = failures + 1, None
                logger.warning("outbox relay: %r, try %d", error, failures)
                await self.wait(self._pause_for(self._pause.get_backoff(failures)))

    async def _claim(self) -> _Batch:
        deadline = self._deadline()
        leases = await self._outbox.claim(self._relay_id, limit=self._batch, lease=self._lease)
        return _Batch(leases, deadline)

    def _deadline(self) -> float:
        return self._clock.monotonic() + self._lease - self._publish_timeout

    async def _work_off(self, batch: _Batch, *, goes_on: bool) -> tuple[int, _Batch | None]:
        """Publish and mark; answers how many messages, and the next batch where it is claimed."""
        endings: list[_Ending] = []
        last: list[_Ending] = []
        running = {
            asyncio.create_task(self._publish(each, batch.deadline)) for each in batch.leases
        }
        try:
            while running:
                # What ends together is marked together; nothing waits for a slow partition.
                await self._mark(last)
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                last = [task.result() for task in ended]
                endings += last
        finally:
            for task in running:
                task.cancel()
        published = sum(len(ending.published) for ending in endings)
        failures = [ending for ending in endings if ending.error is not None]
        if goes_on and published and not failures and not self.is_stopping:
            return published, await self._mark_and_claim(last)
        await self._mark(last)
        if failures and not published and all(isinstance(f.error, _OUTAGE) for f in failures):
            for failure in failures:
                await self._outbox.release(failure.lease)
            raise errors.MessagingError(
                f"the broker took none of {len(failures)} messages, the last failed with "
                f"{failures[-1].error!r}; nothing is counted as a try"
            )
        for failure in failures:
            await self._hold_back(failure)
        return published, None

    async def _pause_for(self, seconds: float) -> None:
        if self._signal is not None:
            try:
                await self._signal.wait(OUTBOX_CHANNEL, seconds)
                return
            except Exception as error:
                logger.warning("outbox relay: %r from the signal; polling goes on", error)
        await self._clock.sleep(seconds)

    async def _publish(self, lease: OutboxLease, deadline: float) -> _Ending:
        """Publish the messages of one partition, one after the other, up to the first failure."""
        published: list[str] = []
        for message in lease.messages:
            if self.is_stopping or self._clock.monotonic() >= deadline:
                break
            try:
                await timeout_after(self._publish_timeout, self._publisher.publish(message))
            except Exception as error:
                return _Ending(lease, published, message, error)
            published.append(message.message_id)
        return _Ending(lease, published)

    async def _mark(self, endings: list[_Ending]) -> None:
        whole = [(e.lease, e.published) for e in endings if e.error is None]
        if whole:
            _tell_of_lost(await self._outbox.complete_batch(whole))
        for ending in endings:
            if ending.error is not None and ending.published:
                try:
                    await self._outbox.complete(ending.lease, ending.published)
                except errors.LeaseLostError as error:
                    logger.warning("outbox relay: %s", error)

    async def _mark_and_claim(self, endings: list[_Ending]) -> _Batch:
        deadline = self._deadline()
        lost, leases = await self._outbox.complete_and_claim(
            [(ending.lease, ending.published) for ending in endings],
            self._relay_id,
            limit=self._batch,
            lease=self._lease,
        )
        _tell_of_lost(lost)
        return _Batch(leases, deadline)

    async def _hold_back(self, failure: _Ending) -> None:
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
                repr(error),
                retry_at=None if gives_up else self._clock.now() + pause,
            )
        except errors.LeaseLostError as lost:
            logger.warning("outbox relay: %s", lost)
            return
        if gives_up:
            logger.error(
                "outbox message %s is parked after %d tries: %r; retry or discard it",
                message.message_id,
                tries,
                error,
            )


def _tell_of_lost(leases: Sequence[OutboxLease]) -> None:
    # Another relay publishes again what was lost; the receivers know it by its ids.
    for lease in leases:
        logger.warning(
            "outbox relay: the lease of key %s is over; another relay publishes it now", lease.key
        )
