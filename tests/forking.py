"""Processes that start fast, as they are forked from a server that imported everything."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

context = multiprocessing.get_context("forkserver")
PRELOADED = [
    "tests.forkserver_paths",  # First, because the other modules need it.
    "tests.faults.caching",
    "tests.faults.crashing",
    "tests.faults.freezing",
    "tests.faults.freezing_workers",
    "tests.faults.locking",
    "tests.faults.rebuilding",
    "tests.faults.releasing",
    "tests.faults.redlock",
    "tests.faults.snapshotting",
    "tests.order_program",
    "tests.persistence_sqlalchemy.test_schema",
    "tests.redis.test_fifo_faults",
]

context.set_forkserver_preload(PRELOADED)


@contextmanager
def process(target: Callable[..., object], *arguments: object) -> Iterator[BaseProcess]:
    """Run a process that is killed at the end of the block, if not before."""
    started = context.Process(target=target, args=arguments, daemon=True)
    started.start()
    try:
        yield started
    finally:
        kill(started)


def kill(process: BaseProcess) -> None:
    process.kill()  # Has no effect on a process that has ended by itself.
    process.join(10)
