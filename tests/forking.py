"""Processes that are there at once: forked from a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.crashing", "tests.order_program"])


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
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    process.join(10)
