from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.locking import Contest, MakeLock, contend, fifo, redlock
from tests.services import Redis as Server
from tests.services import running


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(running(Server())).url for _ in range(3))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "servers"), [(fifo, 1), (redlock, 1), (redlock, 3)])
async def test_of_50_tasks_in_4_processes_one_is_inside_whoever_is_killed_or_cancelled(
    make: MakeLock,
    servers: int,
    urls: tuple[str, ...],
    tmp_path: Path,
) -> None:
    findings = await contend(Contest(urls[:servers], make, tmp_path), seed=1, rounds=5)

    assert findings.holds > 50
    assert (findings.two_holders, findings.refused, findings.is_wedged) == (0, 0, False)
    if make is fifo:
        assert findings.overtaken == 0
