"""Order system in a process of its own, killed at random moments and started again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from order_system import composition
from order_system.tables import Style

from tests.order_program import run_program

HEAD = (
    "order_id,customer_id,order_date,shipped_date,ship_city,ship_country,"
    "product_id,product_name,quantity,unit_price,discount"
)
ORDERS = 5
HANGS = 240.0
"""Seconds after which a run has hung, even on a slow machine."""
STEPS = "steps"
"""File with one byte for each step of a run, that is for each callback of its event loop."""

Environment = dict[str, str]


@dataclass
class Findings:
    """Counts of kills, of finished imports and of their faults."""

    kills: int = 0
    imports: int = 0
    resumed: int = 0
    failed: int = 0
    other_reports: int = 0
    other_rejections: int = 0

    @property
    def faults(self) -> int:
        return self.failed + self.other_reports + self.other_rejections

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.imports} imports, {self.resumed} of them resumed; "
            f"{self.failed} failed, {self.other_reports} ended with another report, "
            f"{self.other_rejections} with other rejected lines"
        )


def create_file_settings(folder: Path) -> Callable[[int], Environment]:
    return lambda number: {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{number}.db"}


def write_orders(folder: Path) -> Path:
    """Write orders with three lines each; every tenth has a duplicate and an invalid line."""
    lines = [HEAD]
    for order in range(ORDERS):
        facts = f"{order},C-{order % 7},2026-01-02,2026-01-0{3 + order % 6},Lund,Land {order % 3}"
        lines += [f"{facts},P-{part},Tea,{part + 1},3.5,0.1" for part in range(3)]
        if order % 10 == 0:
            lines += [lines[-1], f"{facts},P-9,Tea,none,3.5,0.1"]
    path = folder / "orders.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def kill_at_random(
    folder: Path,
    new_database: Callable[[int], Environment],
    *,
    seed: int,
    kills: int,
    styles: Sequence[Style] = ("state", "events"),
    is_naive: bool = False,
) -> Findings:
    """Import a file and kill the program until an import ends; then use the next database.

    Each import stores its orders in the next of the styles. Its final output is compared with the
    output of a run in memory in the first style. A run is killed after a random number of steps
    instead of a random time, so that the speed of the machine does not matter.
    """
    dice, findings = random.Random(seed), Findings()
    file = write_orders(folder)
    in_memory = {"BACKEND": "memory", "STYLE": styles[0]}
    _, wanted, rejected = _run(folder, file, in_memory)
    wanted = _report(wanted)
    assert wanted
    assert rejected
    _run(folder, file, new_database(0))
    whole = (folder / STEPS).stat().st_size
    while findings.kills < kills and not (is_naive and findings.faults):
        environment = {
            **new_database(1 + findings.imports),
            "LEASE_SECONDS": "0.5",
            "STYLE": styles[findings.imports % len(styles)],
        }
        code: int | None = None
        output = found = ""
        while code is None:
            # Early steps more often than late ones, because a resumed run has fewer steps.
            last = dice.randrange(1 + dice.randrange(whole)) if findings.kills < kills else None
            code, output, found = _run(folder, file, environment, last, is_naive=is_naive)
            findings.kills += code is None
        findings.imports += 1
        findings.failed += code != 0
        findings.resumed += "resumed: " in output
        findings.other_reports += _report(output) != wanted
        findings.other_rejections += found != rejected
    return findings


def _report(output: str) -> str:
    """Return the output without the part about the run itself."""
    return output.partition("\n\n")[2]


def _run(
    folder: Path,
    file: Path,
    environment: Environment,
    last: int | None = None,
    *,
    is_naive: bool = False,
) -> tuple[int | None, str, str]:
    """Return the exit code, or None if it was killed, the output and the rejected lines."""
    rejected = folder / "orders.rejected.csv"
    rejected.unlink(missing_ok=True)
    before = partial(prepare, folder / STEPS, last, is_naive=is_naive)
    ended = run_program(folder, file, environment=environment, life=HANGS, before=before)
    assert ended.code is not None, f"hangs: {ended.stderr}"
    code = None if ended.code == -signal.SIGKILL else ended.code
    return code, ended.stdout, rejected.read_text() if rejected.exists() else ""


def prepare(steps: Path, last: int | None, *, is_naive: bool) -> None:
    """Count the steps of this process in a file, and kill the process after the last one."""
    if is_naive:
        remove_inbox()
    run = asyncio.Handle._run
    counter, number = os.open(steps, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 0

    def run_counted(handle: asyncio.Handle) -> None:
        nonlocal number
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        number += 1
        os.write(counter, b".")
        run(handle)

    asyncio.Handle._run = run_counted  # type: ignore[assignment,method-assign]


def remove_inbox() -> None:
    """Replace the consumer by one without an inbox."""
    composition.InboxConsumer = _ConsumerWithoutInbox  # type: ignore[assignment,attr-defined]


class _ConsumerWithoutInbox:
    """Wrong consumer without an inbox."""

    def __init__(
        self, consumer: str, handler: Callable[..., object], *, uow_factory: object
    ) -> None:
        self._handler = handler
        self._uow_factory = uow_factory

    async def __call__(self, message: object) -> None:
        async with self._uow_factory():  # type: ignore[operator]
            await self._handler(message)  # type: ignore[misc]
