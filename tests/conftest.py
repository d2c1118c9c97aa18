"""Servers for the tests, and the report of which ones a run used."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from tests.services import SOURCES, Postgres, Product, Redis, Server, Source, running

pytest_plugins = ["tests.docs.blocks"]
pytest.register_assert_rewrite("cqrs_ddd_core.testing")

SERVERS_VARIABLE = "CQRS_DDD_TEST_SERVERS"
USED_SERVERS = pytest.StashKey[list[tuple[str, Server]]]()


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A real PostgreSQL, started at the first use."""
    yield from _url(Postgres(), pytestconfig)


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A real Redis or Valkey, started at the first use."""
    yield from _url(Redis(), pytestconfig)


def _url(product: Product, config: pytest.Config) -> Iterator[str]:
    url = os.environ.get(product.variable)
    with running(product, url=url, sources=_chosen_sources()) as server:
        config.stash.setdefault(USED_SERVERS, []).append((product.name, server))
        yield server.url


def _chosen_sources() -> tuple[Source, ...]:
    choice = os.environ.get(SERVERS_VARIABLE)
    if choice is None:
        return SOURCES
    for source in SOURCES:
        if choice == source:
            return (source,)
    raise pytest.UsageError(f"{SERVERS_VARIABLE} is {choice!r}; use one of {', '.join(SOURCES)}")


def pytest_collection_finish() -> None:
    # Modules and tests stay to the end: the collector need not look at them again and again.
    gc.freeze()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for name, server in config.stash.get(USED_SERVERS, []):
        terminalreporter.write_line(f"{name} {server.version} ({server.source})")
