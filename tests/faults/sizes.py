"""Sizes of the long tests, in three forms.

`make test` runs the short form, `make test-faults` the full form, `make soak` the longest one. The
variable ``CQRS_DDD_TEST_FORM`` names the form.
"""

from __future__ import annotations

import os
from typing import Literal, TypeVar, get_args

import pytest

T = TypeVar("T")
Form = Literal["short", "full", "soak"]

VARIABLE = "CQRS_DDD_TEST_FORM"
FORM = os.environ.get(VARIABLE, "short")


def choose(short: T, full: T, soak: T) -> T:
    """Return the size of the form that this process runs."""
    sizes: dict[str, T] = dict(zip(get_args(Form), (short, full, soak), strict=True))
    if FORM not in sizes:
        raise pytest.UsageError(f"{VARIABLE} is {FORM!r}; use one of {', '.join(sizes)}")
    return sizes[FORM]


WRITER_TRANSACTIONS = choose(10, 20, 250)
CRASHES = choose(5, 12, 200)
SNAPSHOT_CRASHES = choose(4, 8, 200)
WORKER_CRASHES = choose(4, 10, 200)
POISON_CRASHES = choose(4, 6, 100)
"""A quarter of these crashes comes after the repair."""
SOLD_EVENTS = choose(400, 1_000, 100_000)
POISONED_EVENTS = choose(300, 500, 10_000)
REBUILDS = choose(1, 2, 20)
REBUILD_CRASHES = choose(1, 2, 3)
SOLD_DURING_REBUILDS = choose(400, 700, 20_000)
OUTAGES = choose(2, 4, 50)
IMPORT_CRASHES = choose(6, 50, 500)
RELAY_RUNS = choose(3, 10, 50)
LOCK_ROUNDS = choose(2, 5, 100)
ORDER_LINES = choose(10, 10, 100)
PROJECTED_EVENTS = choose((2_000, 20_000), (2_000, 20_000), (10_000, 1_000_000))
PARITY_SEEDS = choose(8, 84, 1_000)
SEARCH_SEEDS = choose(3, 12, 12)
HISTORIES = choose(200, 1_000, 1_000)
INCREMENTS = choose(2, 10, 10)
FILLED_ROWS = choose(20_000, 50_000, 1_000_000)
FILE_LINES = choose(10, 24, 24)
