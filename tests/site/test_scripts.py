"""Tests that the code of each page runs as the script that the site offers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.site import ROOT
from tests.site.conftest import SITE

SCRIPTS = sorted(SITE.rglob("*_example.py"))


def test_site_offers_scripts() -> None:
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_code_of_a_page_runs_as_one_script(
    script: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = script.read_text("utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'docs/examples'}"}
    if "REDIS_URL" in text:
        environment["REDIS_URL"] = request.getfixturevalue("redis_url")

    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT if "docs/examples" in text else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
