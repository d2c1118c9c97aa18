"""A port, its fake and its contract have one file name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.packages import ROOT

CORE = ROOT / "packages/core/src/cqrs_ddd_core"
ADVANCED = ROOT / "packages/advanced/src/cqrs_ddd_advanced_core"
VALUES = {"search_result"}
"""No ports, but what a port answers with."""
WORK_AS_THEY_ARE = {
    "bus",
    "conflict",
    "event_dispatcher",
    "middleware",
    "persistence",
    "upcasting",
    "validation",
}
"""Need no infrastructure of their own, so the real thing serves in tests too."""

SHARED_BY_FAKES = {"transaction", "transaction_locks"}
"""Machinery of several fakes."""

each_package = pytest.mark.parametrize("package", [CORE, ADVANCED], ids=lambda path: path.name)


def _modules(package: Path, folder: str) -> set[str]:
    return {path.stem for path in (package / folder).glob("*.py")} - {"__init__"}


@each_package
def test_every_port_has_a_contract_of_its_name(package: Path) -> None:
    assert _modules(package, "ports") - VALUES <= _modules(package, "testing/contracts")


@each_package
def test_every_port_that_needs_infrastructure_has_a_fake_of_its_name(package: Path) -> None:
    fakes = _modules(package, "adapters/memory")

    assert _modules(package, "ports") - VALUES - WORK_AS_THEY_ARE <= fakes


@each_package
def test_every_fake_is_of_a_port_or_a_primitive(package: Path) -> None:
    named = _modules(package, "ports") | _modules(package, "primitives")

    assert _modules(package, "adapters/memory") - SHARED_BY_FAKES <= named
