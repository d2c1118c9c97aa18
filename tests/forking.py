"""Processes that are there at once: forked from a server that has imported everything."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "tests.faults.crashing",
        "tests.faults.locking",
        "tests.faults.projecting",
        "tests.faults.snapshotting",
        "tests.order_program",
    ]
)


@contextmanager
def process(target: Callable[..., object], *arguments: object) -> Iterator[BaseProcess]:
    """Killed at the end of the block, if not before."""
    started = _context.Process(target=target, args=arguments, daemon=True)
    started.start()
    try:
        yield started
    finally:
        kill(started)


def kill(process: BaseProcess) -> None:
    process.kill()  # Which is nothing for one that ended by itself a moment before.
    process.join(10)
