"""A port, its fake and its contract have one file name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.packages import ROOT

CORE = ROOT / "packages/core/src/cqrs_ddd_core"
ADVANCED = ROOT / "packages/advanced/src/cqrs_ddd_advanced_core"
VALUES = {"search_result"}
"""Modules in ``ports/`` with return types of a port instead of a port."""
WITHOUT_INFRASTRUCTURE = {
    "bus",
    "conflict",
    "event_dispatcher",
    "middleware",
    "persistence",
    "upcasting",
    "validation",
}
"""Ports without infrastructure, for which tests use the real implementation."""

SHARED_BY_FAKES = {"transaction", "transaction_locks"}
"""Modules that several fakes share."""

each_package = pytest.mark.parametrize("package", [CORE, ADVANCED], ids=lambda path: path.name)


def _modules(package: Path, folder: str) -> set[str]:
    return {path.stem for path in (package / folder).glob("*.py")} - {"__init__"}


@each_package
def test_every_port_has_a_contract_of_its_name(package: Path) -> None:
    assert _modules(package, "ports") - VALUES <= _modules(package, "testing/contracts")


@each_package
def test_every_port_that_needs_infrastructure_has_a_fake_of_its_name(package: Path) -> None:
    fakes = _modules(package, "adapters/memory")

    assert _modules(package, "ports") - VALUES - WITHOUT_INFRASTRUCTURE <= fakes


@each_package
def test_every_fake_has_the_name_of_a_port_or_a_primitive(package: Path) -> None:
    named = _modules(package, "ports") | _modules(package, "primitives")

    assert _modules(package, "adapters/memory") - SHARED_BY_FAKES <= named
