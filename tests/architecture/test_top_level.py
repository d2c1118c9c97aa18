"""Files and folders at the top level of the repository."""

from __future__ import annotations

import subprocess

from tests.architecture.packages import ROOT

ALLOWED = {
    ".ci",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "changelog.d",
    "docs",
    "packages",
    "pyproject.toml",
    "system-prompt.md",
    "tests",
    "uv.lock",
}


def tracked_files() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listing.stdout.split("\0") if name]


def test_top_level_tracks_allowed_names_only() -> None:
    assert {name.partition("/")[0] for name in tracked_files()} <= ALLOWED


def test_ci_is_one_script_and_the_matrix_of_versions() -> None:
    files = {name for name in tracked_files() if name.startswith(".ci/")}

    assert files <= {".ci/run", ".ci/matrix.json"}
