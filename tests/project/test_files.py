"""Files for contributors: their links, commands, hooks, workflows and changelog fragments."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.packages import ROOT, read_toml

TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.M))
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "changelog.d/README.md"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*_*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
FRAGMENT_TYPES = set(read_toml(ROOT / "pyproject.toml")["tool"]["towncrier"]["fragment"])
# A fragment has the number of an issue, or + and a name.
FRAGMENT = re.compile(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(FRAGMENT_TYPES)})\.md")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_for_contributors_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\((?!https:)([^)]+)\)", page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(
    "path",
    [*PAGES, *WORKFLOWS, HOOKS, ROOT / ".github/pull_request_template.md"],
    ids=lambda path: path.name,
)
def test_make_targets_that_a_file_names_exist(path: Path) -> None:
    commands = re.findall(r"(?:^|`|run: |entry: )make ([a-z-]+)", path.read_text("utf-8"), re.M)

    assert commands or path.name == "SECURITY.md"
    assert {*commands} <= TARGETS


def test_every_entry_of_a_hook_is_a_make_target_or_a_program() -> None:
    (repository,) = read_yaml(HOOKS)["repos"]

    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, *arguments = hook["entry"].split()
        assert hook["language"] == "system"
        assert shutil.which(program), hook["entry"]
        assert program != "make" or set(arguments) <= TARGETS, hook["entry"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_issue_form_has_a_description_and_asks_for_a_required_text(form: Path) -> None:
    content = read_yaml(form)

    assert {"name", "description", "body"} <= {*content}
    required = [field for field in content["body"] if field.get("validations", {}).get("required")]
    assert required
    assert all(field["attributes"]["label"] for field in required)


def test_issue_forms_cover_bugs_and_features() -> None:
    assert [form.stem for form in FORMS] == ["bug_report", "feature_request"]
    assert isinstance(read_yaml(FORMS[0].with_name("config.yml"))["blank_issues_enabled"], bool)


def test_ci_workflow_reads_the_matrix_file_and_runs_the_targets_of_a_developer() -> None:
    jobs = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]
    commands = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}

    assert {".ci/run", "make test-matrix"} <= commands
    assert any(".ci/matrix.json" in command for command in commands)
    assert "fromJSON(needs.matrix.outputs.cells)" in jobs["cell"]["strategy"]["matrix"]


def test_release_workflow_checks_before_it_builds_and_publishes_last() -> None:
    workflow = read_yaml(ROOT / ".github/workflows/release.yml")
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]

    # YAML 1.1 reads the key `on` as a truth value.
    assert workflow[True]["push"]["tags"] == ["v*"]
    commands = [step["run"].split()[:2] for step in build["steps"] if "run" in step]
    assert commands == [["make", "release-check"], [".ci/run"], ["make", "release-build"]]
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")


@pytest.mark.parametrize("page", [ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"])
def test_files_and_folders_that_a_page_for_contributors_names_exist(page: Path) -> None:
    names = re.findall(r"`([\w./-]+/[\w./-]*)`", page.read_text("utf-8"))

    core = ROOT / "packages/core/src/cqrs_ddd_core"
    assert names
    assert [name for name in names if not ((ROOT / name).exists() or (core / name).exists())] == []


def test_changelog_fragments_have_a_number_or_name_and_a_known_type() -> None:
    names = {path.name for path in (ROOT / "changelog.d").iterdir()} - {"README.md"}

    assert [name for name in names if not FRAGMENT.fullmatch(name)] == []


@pytest.mark.parametrize("name", ["12.md", "fix.fixed.md", "12.broken.md", "+A b.added.md"])
def test_fragment_without_number_or_type_is_not_accepted(name: str) -> None:
    assert not FRAGMENT.fullmatch(name)


def test_readme_of_the_fragments_names_every_type() -> None:
    text = (ROOT / "changelog.d/README.md").read_text("utf-8")

    assert {kind for kind in FRAGMENT_TYPES if f"`{kind}`" in text} == FRAGMENT_TYPES
