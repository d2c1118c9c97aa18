"""The order system in a process of its own, killed at random moments and started again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from order_system import composition
from order_system.tables import Style

from tests.order_program import run_program

HEAD = (
    "order_id,customer_id,order_date,shipped_date,ship_city,ship_country,"
    "product_id,product_name,quantity,unit_price,discount"
)
ORDERS = 5
FINISHED = 60.0
"""Seconds after which a run that nobody kills has hung."""

Environment = dict[str, str]


@dataclass
class Findings:
    """``imports`` were ended, each after any number of kills; the rest counts faults."""

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
            f"{self.kills} kills in {self.imports} imports, {self.resumed} of them said what they "
            f"resumed; {self.failed} failed, {self.other_reports} ended with another report, "
            f"{self.other_rejections} with other rejected lines"
        )


def files_in(folder: Path) -> Callable[[int], Environment]:
    return lambda number: {"DATABASE_URL": f"sqlite+aiosqlite:///{folder}/{number}.db"}


def write_orders(folder: Path) -> Path:
    """Three lines an order, a duplicate and a bad line in every tenth."""
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
    """Import a file again and again, and kill it, until it ends; then into another database.

    Each import keeps its orders in the next of the styles, and what it prints at its end is
    compared with what a run in memory prints, in the first. A killed one lives as long as one that
    is left alone, at most.
    """
    dice, findings = random.Random(seed), Findings()
    file = write_orders(folder)
    in_memory = {"BACKEND": "memory", "STYLE": styles[0]}
    _, wanted, rejected = _run(folder, file, in_memory, FINISHED)
    wanted = _report(wanted)
    assert wanted
    assert rejected
    began = time.monotonic()
    _run(folder, file, new_database(0), FINISHED)
    whole = time.monotonic() - began
    while findings.kills < kills and not (is_naive and findings.faults):
        environment = {
            **new_database(1 + findings.imports),
            "LEASE_SECONDS": "0.5",
            "STYLE": styles[findings.imports % len(styles)],
        }
        code: int | None = None
        told = found = ""
        while code is None:
            life = dice.uniform(0.0, whole) if findings.kills < kills else FINISHED
            code, told, found = _run(folder, file, environment, life, is_naive=is_naive)
            findings.kills += code is None
        findings.imports += 1
        findings.failed += code != 0
        findings.resumed += "resumed: " in told
        findings.other_reports += _report(told) != wanted
        findings.other_rejections += found != rejected
    return findings


def _report(told: str) -> str:
    """Without what tells of the run alone."""
    return told.partition("\n\n")[2]


def _run(
    folder: Path, file: Path, environment: Environment, life: float, *, is_naive: bool = False
) -> tuple[int | None, str, str]:
    """The exit code, what it printed and the rejected lines; None for one that was killed."""
    rejected = folder / "orders.rejected.csv"
    rejected.unlink(missing_ok=True)
    before = forget if is_naive else None
    ended = run_program(folder, file, environment=environment, life=life, before=before)
    assert ended.code is not None or life < FINISHED, f"hangs: {ended.stderr}"
    return ended.code, ended.stdout, rejected.read_text() if rejected.exists() else ""


def forget() -> None:
    """Leave the inbox out."""
    composition.InboxConsumer = _Forgetful  # type: ignore[assignment,attr-defined]


class _Forgetful:
    """What one would write without an inbox."""

    def __init__(
        self, consumer: str, handler: Callable[..., object], *, uow_factory: object
    ) -> None:
        self._handler = handler
        self._uow_factory = uow_factory

    async def __call__(self, message: object) -> None:
        async with self._uow_factory():  # type: ignore[operator]
            await self._handler(message)  # type: ignore[misc]
