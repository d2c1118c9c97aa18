"""Tests that the page about production names the defaults of the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta

from cqrs_ddd_advanced_core.projections import ProjectionWorker
from cqrs_ddd_core import Application, OutboxRelay, Retention, TimeoutMiddleware
from cqrs_ddd_persistence_sqlalchemy.engine import engines
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/guides/production.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+)\((\w+)=\)` \| ([^|]+) \|", PAGE, re.M)
CLASSES: tuple[Callable[..., object], ...] = (
    Application,
    OutboxRelay,
    ProjectionWorker,
    Retention,
    TimeoutMiddleware,
)


def _format_default(name: str, argument: str) -> str:
    (found,) = [each for each in CLASSES if each.__name__ == name]
    default = inspect.signature(found).parameters[argument].default
    if isinstance(default, timedelta):
        return f"{default.days} days"
    return "none" if default is inspect.Parameter.empty else str(default)


def test_defaults_on_the_page_are_the_defaults_of_the_arguments() -> None:
    assert len(ROWS) >= 12
    assert [row[2] for row in ROWS] == [_format_default(row[0], row[1]) for row in ROWS]


def test_connections_on_the_page_are_the_pools_and_one_listener_for_each() -> None:
    sizes = engines.POOL_SIZE, engines.BACKGROUND_POOL_SIZE

    assert "with {} and {} connections".format(*sizes) in PAGE
    assert f"up to {sum(sizes) + len(sizes)} connections to PostgreSQL" in PAGE
    assert f"further ones wait {engines.POOL_TIMEOUT:.0f} seconds" in PAGE
