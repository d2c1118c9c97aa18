"""Clients that the adapters accept, and errors of the driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cqrs_ddd_core.primitives.exceptions import ConfigError
from cqrs_ddd_redis import (
    FifoRedisLockStrategy,
    RedisCacheService,
    RedisQueueSignal,
    RedlockLockStrategy,
    driver,
)
from cqrs_ddd_redis.locking.strategy import RedisLockStrategy

MARKER = "m4rk3r of the application"


@pytest.mark.parametrize(
    "make",
    [
        FifoRedisLockStrategy,
        RedisCacheService,
        RedisQueueSignal,
        lambda client, namespace: RedlockLockStrategy([client], namespace=namespace),
    ],
)
def test_redis_adapters_reject_a_client_of_another_kind(make: Callable[..., object]) -> None:
    for client, kind in ((redis.Redis(), "redis.client.Redis"), (None, "builtins.NoneType")):
        with pytest.raises(ConfigError, match=f"client of redis.asyncio, got {kind}"):
            make(client, namespace="shop")


class SilentAtFirst(Redis):
    """Client that gets no reply to its first script, and raises the cancellation itself."""

    is_silent = True

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.is_silent and args[0] == "EVALSHA":
            self.is_silent = False
            await wait_and_raise_own_cancellation()
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


async def wait_and_raise_own_cancellation() -> None:
    cancellation = asyncio.CancelledError()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as cancelled:
        cancellation = cancelled
    await asyncio.sleep(0)  # As for the end of a connection.
    raise cancellation


@pytest.mark.parametrize("kind", ["fifo", "redlock on one server", "redlock"])
@pytest.mark.parametrize(
    "handled", [ResponseError(MARKER), OSError(MARKER), ValueError(MARKER)], ids=repr
)
async def test_lock_is_retried_while_the_application_handles_an_error(
    server_urls: list[str],
    clients: list[Redis],
    handled: Exception,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    silent: list[Redis] = [SilentAtFirst.from_url(url) for url in server_urls]
    lock: RedisLockStrategy
    if kind == "fifo":
        lock = FifoRedisLockStrategy(silent[0], namespace="shop", response_timeout=0.3)
    else:
        used = silent if kind == "redlock" else silent[:1]
        lock = RedlockLockStrategy(used, namespace="shop", response_timeout=0.3)
    with caplog.at_level(logging.DEBUG):
        try:
            raise handled
        except (ResponseError, OSError, ValueError):
            assert await lock.acquire("door", timeout=20)
            await lock.release("door")
    for client in silent:
        await client.aclose()

    assert MARKER not in caplog.text


@pytest.mark.parametrize("execute", [driver.execute_with_timeout, driver._execute_in_task])
async def test_timeout_does_not_report_an_error_that_the_caller_handles(
    execute: Callable[..., Any],
) -> None:
    try:
        raise ResponseError(MARKER)
    except ResponseError:
        with pytest.raises(asyncio.TimeoutError, match=r"no reply within 0\.01 s"):
            await execute(wait_and_raise_own_cancellation(), 0.01)


@pytest.mark.parametrize("execute", [driver.execute_with_timeout, driver._execute_in_task])
async def test_timeout_reports_the_error_that_the_client_was_about_to_repeat(
    execute: Callable[..., Any],
) -> None:
    async def repeat() -> None:
        try:
            raise redis.AuthenticationError("invalid password")
        except redis.AuthenticationError:
            await wait_and_raise_own_cancellation()

    with pytest.raises(redis.AuthenticationError):
        await execute(repeat(), 0.01)
