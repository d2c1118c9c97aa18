"""A port, its fake and its contract have one file name."""

from __future__ import annotations

from tests.architecture.packages import ROOT

CORE = ROOT / "packages/core/src/cqrs_ddd_core"
VALUES = {"search_result"}
"""No ports, but what a port answers with."""
WORK_AS_THEY_ARE = {"bus", "event_dispatcher", "middleware", "upcasting", "validation"}
"""Need no infrastructure, so the real thing serves in tests too."""


def _modules(folder: str) -> set[str]:
    return {path.stem for path in (CORE / folder).glob("*.py")} - {"__init__"}


def test_every_port_has_a_contract_of_its_name() -> None:
    assert _modules("ports") - VALUES <= _modules("testing/contracts")


def test_every_port_that_needs_infrastructure_has_a_fake_of_its_name() -> None:
    assert _modules("ports") - VALUES - WORK_AS_THEY_ARE <= _modules("adapters/memory")


def test_every_fake_is_of_a_port_or_a_primitive() -> None:
    assert _modules("adapters/memory") <= _modules("ports") | _modules("primitives")
