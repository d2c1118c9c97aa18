"""Test of the processes that are forked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.forking import PRELOADED, process


def test_forkserver_has_imported_every_preloaded_module(tmp_path: Path) -> None:
    report = tmp_path / "missing"

    with process(_write_missing_modules, report) as running:
        running.join()

    assert json.loads(report.read_text()) == []


def _write_missing_modules(report: Path) -> None:
    report.write_text(json.dumps([name for name in PRELOADED if name not in sys.modules]))
