"""Generators of ids as text: random ids, and ids that sort by their time (RFC 9562)."""

import os
import struct
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Protocol, runtime_checkable

__all__ = ["IIdGenerator", "UUID4Generator", "UUID7Generator"]

_BLOCK = 16
_BLOCKS_PER_READ = 256
_COUNTER_LIMIT = 0x1000


@runtime_checkable
class IIdGenerator(Protocol):
    """Generator of ids that never repeat."""

    @abstractmethod
    def next_id(self) -> str:
        """Return a new id."""
        ...


class _RandomBlocks:
    """Blocks of 16 random bytes, read from the system 256 at a time."""

    def __init__(self) -> None:
        self.refill()
        # A forked process would otherwise use the blocks that its parent uses, too.
        os.register_at_fork(after_in_child=self.refill)

    def refill(self) -> None:
        self._blocks: Iterator[tuple[bytes]] = struct.iter_unpack(
            f"{_BLOCK}s", os.urandom(_BLOCK * _BLOCKS_PER_READ)
        )

    def next(self) -> bytes:
        # The iterator is one C call: two threads never get the same block.
        for (block,) in self._blocks:
            return block
        self.refill()
        return self.next()


_random_blocks = _RandomBlocks()


class UUID4Generator(IIdGenerator):
    """Generator of random ids, version 4 of RFC 9562."""

    def next_id(self) -> str:
        """Return a random UUID."""
        block = _random_blocks.next()
        digits = block.hex()
        return (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
            f"-{'89ab'[block[8] & 3]}{digits[17:20]}-{digits[20:]}"
        )


class UUID7Generator(IIdGenerator):
    """Generator of time-ordered ids, version 7 of RFC 9562, strictly increasing per generator.

    The 12 bits behind the milliseconds are a counter (method 1 of the RFC's section 6.2). If the
    counter overflows, the last millisecond is advanced by one; if the clock steps back, it is kept.

    Args:
        now_ns: returns the time in nanoseconds since 1970; tests pass their own function.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._lock = Lock()
        self._milliseconds = 0
        self._counter = 0

    def next_id(self) -> str:
        """Return a UUID that is greater than all earlier UUIDs of this generator."""
        block = _random_blocks.next()
        digits = block.hex()
        milliseconds, counter = self._tick()
        stamp = f"{milliseconds:012x}"
        return (
            f"{stamp[:8]}-{stamp[8:]}-7{counter:03x}"
            f"-{'89ab'[block[8] & 3]}{digits[17:20]}-{digits[20:]}"
        )

    def _tick(self) -> tuple[int, int]:
        now = self._now_ns() // 1_000_000
        with self._lock:
            if now > self._milliseconds:
                self._milliseconds, self._counter = now, 0
            elif self._counter + 1 < _COUNTER_LIMIT:
                self._counter += 1
            else:
                self._milliseconds, self._counter = self._milliseconds + 1, 0
            return self._milliseconds, self._counter


uuid4_text = UUID4Generator().next_id
"""Function that returns a random id from a generator shared by the process."""

uuid7_text = UUID7Generator().next_id
"""Function that returns a time-ordered id from a generator shared by the process."""
