"""Servers for the tests, and the report of the servers that a run used."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.workermanage import WorkerController

from tests.databases import database_of_worker
from tests.processes import WORKER
from tests.services import SOURCES, Postgres, Product, Redis, Source, running

pytest_plugins = ["tests.docs.blocks", "tests.workers"]
pytest.register_assert_rewrite("cqrs_ddd_core.testing")

# No example is too slow: how long one takes depends on the machine.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

SERVERS_VARIABLE = "CQRS_DDD_TEST_SERVERS"
USED_SERVERS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """Return the URL of a real PostgreSQL, started at the first use in each worker."""
    yield from _url(Postgres(), pytestconfig)


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """Return the URL of a real Redis or Valkey, started at the first use in each worker."""
    yield from _url(Redis(), pytestconfig)


def _url(product: Product, config: pytest.Config) -> Iterator[str]:
    url = os.environ.get(product.variable)
    with running(product, url=url, sources=_chosen_sources()) as server:
        used = f"{product.name} {server.version} ({server.source})"
        config.stash.setdefault(USED_SERVERS, []).append(used)
        if url is None or WORKER is None:
            yield server.url
            return
        with database_of_worker(product, url, WORKER) as own_url:
            yield own_url


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    if WORKER is not None:
        output = session.config.workeroutput  # type: ignore[attr-defined]
        output["servers"] = session.config.stash.get(USED_SERVERS, [])


def pytest_testnodedown(node: WorkerController) -> None:
    output = getattr(node, "workeroutput", {})  # A worker that crashed has none.
    node.config.stash.setdefault(USED_SERVERS, []).extend(output.get("servers", []))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    servers = config.stash.get(USED_SERVERS, list[str]())
    for used in dict.fromkeys(servers):
        terminalreporter.write_line(used)
