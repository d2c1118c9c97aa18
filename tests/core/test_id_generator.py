from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqrs_ddd_core.adapters.memory import SequentialIdGenerator
from cqrs_ddd_core.primitives.id_generator import (
    UUID4Generator,
    UUID7Generator,
    uuid4_text,
    uuid7_text,
)


@pytest.mark.parametrize(
    ("make", "version"), [(UUID4Generator().next_id, 4), (UUID7Generator().next_id, 7)]
)
def test_generated_ids_are_uuids_of_the_expected_version(
    make: Callable[[], str], version: int
) -> None:
    for text in (make() for _ in range(2_000)):
        parsed = UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (version, RFC_4122, text)


@pytest.mark.parametrize("make", [uuid4_text, uuid7_text])
def test_threads_generate_different_ids(make: Callable[[], str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        batches = list(threads.map(lambda _: [make() for _ in range(2_000)], range(8)))

    assert len({made for batch in batches for made in batch}) == 16_000


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("make", [uuid4_text, uuid7_text])
def test_forked_process_does_not_repeat_the_ids_of_its_parent(make: Callable[[], str]) -> None:
    make()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(make() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        theirs = set(answer.read().split())

    ours = {make() for _ in range(100)}
    # Only the last 62 bits are random; the time before them may be the same.
    assert len(theirs) == 100
    assert not {made[19:] for made in ours} & {made[19:] for made in theirs}


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=60))
def test_time_ordered_ids_increase_even_if_the_clock_goes_back(readings: list[int]) -> None:
    clock = iter(readings)
    generator = UUID7Generator(now_ns=lambda: next(clock) * 1_000_000)

    made = [generator.next_id() for _ in readings]

    assert made == sorted(set(made))


def test_time_ordered_ids_contain_the_time() -> None:
    milliseconds = 1_800_000_000_123

    made = UUID7Generator(now_ns=lambda: milliseconds * 1_000_000 + 999_999).next_id()

    assert UUID(made).int >> 80 == milliseconds


def test_time_ordered_ids_overflow_into_the_next_millisecond() -> None:
    generator = UUID7Generator(now_ns=lambda: 5_000_000)

    made = [generator.next_id() for _ in range(9_000)]

    assert made == sorted(set(made))
    assert {UUID(m).int >> 80 for m in made} == {5, 6, 7}


def test_sequential_id_generator_returns_predictable_ids() -> None:
    ids = SequentialIdGenerator("order-")

    assert [ids.next_id(), ids.next_id()] == ["order-1", "order-2"]
