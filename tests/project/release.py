"""Checks and archives of a release: ``make release-check`` and ``make release-build``."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from tests.architecture.packages import PACKAGES, ROOT, Package

COPIED = ("packages", "pyproject.toml", ".gitignore")


def find_problems(version: str, packages: Sequence[Package], root: Path) -> list[str]:
    """Return the reasons why the tree is not the release of a version."""
    problems = []
    names = {package.name for package in packages}
    for package in packages:
        project = package.project()
        if project["version"] != version:
            problems.append(f"{package.name} has the version {project['version']}, not {version}")
        extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})
        for text in [
            *project.get("dependencies", []),
            *(each for e in extras.values() for each in e),
        ]:
            requirement = Requirement(text)
            if requirement.name in names and version not in requirement.specifier:
                problems.append(f"{package.name} requires {text}, which excludes {version}")
    changelog = (root / "docs/changelog.md").read_text("utf-8")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.M):
        problems.append(f"docs/changelog.md has no section '## {version} (YYYY-MM-DD)'")
    if "[Unreleased]" in changelog:
        problems.append("docs/changelog.md has an [Unreleased] section: join it with the new one")
    fragments = sorted(path.name for path in (root / "changelog.d").glob("*.*.md"))
    if fragments:
        advice = f"run make changelog VERSION={version}"
        problems.append(f"changelog.d has fragments ({', '.join(fragments)}): {advice}")
    return problems


def project_urls(address: str, version: str) -> dict[str, str]:
    """Return the links of the metadata for the public address of the repository."""
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.netloc or not parts.path.strip("/"):
        raise SystemExit(f"URL is {address!r}; it must look like https://host/owner/name")
    address = address.rstrip("/")
    files = f"{address}/blob/v{version}"
    return {
        "Homepage": address,
        "Documentation": f"{files}/docs/index.md",
        "Repository": address,
        "Issues": f"{address}/issues",
        "Changelog": f"{files}/docs/changelog.md",
    }


def build(address: str, output: Path) -> None:
    """Build all archives from a copy of the tree, with the links in the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "build", "dist")
                shutil.copytree(ROOT / name, copy / name, ignore=ignore)
            else:
                shutil.copy(ROOT / name, copy / name)
        for package in PACKAGES:
            urls = project_urls(address, package.project()["version"])
            with (copy / package.folder.relative_to(ROOT) / "pyproject.toml").open("a") as file:
                file.write("\n[project.urls]\n")
                file.writelines(f'{name} = "{url}"\n' for name, url in urls.items())
        uv = shutil.which(os.environ.get("UV", "uv")) or str(ROOT / ".tools/bin/uv")
        command = [str(Path(uv).absolute()), "build", "--quiet", "--all-packages", "--out-dir"]
        subprocess.run([*command, str(output)], cwd=copy, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m tests.project.release")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("version")
    builder = commands.add_parser("build")
    builder.add_argument("url")
    builder.add_argument("--out-dir", type=Path, default=ROOT / "dist")
    options = parser.parse_args(arguments)
    if options.command == "check":
        problems = find_problems(options.version, PACKAGES, ROOT)
        if problems:
            raise SystemExit("\n".join(problems))
        sys.stdout.write(f"The tree is ready for the tag v{options.version}.\n")
        return
    output: Path = options.out_dir.absolute()
    project_urls(options.url, "0")
    shutil.rmtree(output, ignore_errors=True)
    build(options.url, output)
    sys.stdout.write("".join(f"{path.name}\n" for path in sorted(output.glob("cqrs_ddd_*"))))


if __name__ == "__main__":
    main()
