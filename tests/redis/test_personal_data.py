"""A marker in cached values reaches no log and no text of an error."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis.asyncio import Redis as Client

from cqrs_ddd_core import AggregateRoot, CachingRepository
from cqrs_ddd_core.adapters.memory import InMemoryRepository
from cqrs_ddd_core.primitives.exceptions import CQRSDDDError
from cqrs_ddd_redis import RedisCacheService
from tests.services import Redis, running

MARKER = "m4rk3r-of-a-person"

Fail = Callable[[RedisCacheService, Client], Awaitable[object]]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Start a server that no other test uses, since one of these fills it."""
    with running(Redis()) as server:
        yield server.url


class Patient(AggregateRoot[str]):
    name: str


async def read_a_text_that_is_not_json(cache: RedisCacheService, client: Client) -> None:
    await cache.set("p-1", {"name": MARKER})
    await _replace_all(client, f"{{'name': {MARKER}")
    await cache.get("p-1")


async def read_an_aggregate_of_another_shape(cache: RedisCacheService, client: Client) -> None:
    inner = InMemoryRepository(Patient)
    patients = CachingRepository(inner, cache, Patient)
    await inner.add(Patient(id="p-1", name=MARKER))
    await patients.get("p-1")
    await _replace_all(client, f'["{MARKER}"]')
    assert await patients.get("p-1") is not None


async def read_another_kind_of_value(cache: RedisCacheService, client: Client) -> None:
    await cache.set("p-1", {"name": MARKER})
    for key in await client.keys("*"):
        await client.delete(key)
        await client.rpush(key, MARKER)
    await cache.get("p-1")


async def store_a_value_on_a_full_server(cache: RedisCacheService, client: Client) -> None:
    await client.config_set("maxmemory", "1")
    try:
        await cache.set("p-1", {"name": MARKER})
    finally:
        await client.config_set("maxmemory", "0")


async def store_a_value_that_json_cannot_hold(cache: RedisCacheService, client: Client) -> None:
    await cache.set("p-1", {"name": object, "other": MARKER})


async def _replace_all(client: Client, content: str) -> None:
    for key in await client.keys("*"):
        if await client.type(key) == b"string" and MARKER in str(await client.get(key)):
            await client.set(key, content)


FAILURES: list[Fail] = [
    read_a_text_that_is_not_json,
    read_an_aggregate_of_another_shape,
    read_another_kind_of_value,
    store_a_value_on_a_full_server,
    store_a_value_that_json_cannot_hold,
]


@pytest.mark.parametrize("fail_open", [True, False], ids=["fail open", "fail"])
@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
async def test_no_cached_value_is_logged_or_named_in_an_error(
    client: Client, fail: Fail, fail_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCacheService(client, namespace="shop", response_timeout=10.0, fail_open=fail_open)

    with caplog.at_level(logging.INFO):
        try:
            await fail(cache, client)
        except CQRSDDDError as error:
            shown = "".join(traceback.format_exception(error))
            assert MARKER not in shown, shown
    assert MARKER not in caplog.text, caplog.text
