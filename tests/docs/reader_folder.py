"""Folder in which a reader would follow a document."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Container
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from cqrs_ddd_core.domain.events import defined_events

FILE = re.compile(r"# ([\w/]+\.py)\n")
"""First line of a Python block that is written to a file."""
PROMPT = "$ "
"""Text before a command in a console block; the expected output follows the command."""

_COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n?)*)", re.M)
_PYTEST_VARIABLES = ("PYTEST_", "FORCE_COLOR", "PY_COLORS")


class ReaderFolder:
    """Empty folder that is the current one, and first on ``sys.path``, until it is closed."""

    def __init__(self) -> None:
        self._before = Path.cwd()
        self._path = Path(tempfile.mkdtemp()).resolve()
        self._names: set[str] = set()
        self._others: list[tuple[dict[str, Any], str, Any]] = []
        os.chdir(self._path)
        sys.path.insert(0, str(self._path))

    def write(self, name: str, text: str) -> None:
        """Write a module, and import it if it is in a package; a script is compiled only.

        If it replaces a file, every module of the folder is imported again.
        """
        self._own(name.removesuffix(".py").partition("/")[0])
        file = self._path / name
        if file.exists():
            _remove_modules(self._names)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        # Python would use the byte code of a text with the same size from the same second.
        Path(cache_from_source(str(file))).unlink(missing_ok=True)
        importlib.invalidate_caches()
        compile(text, name, "exec", dont_inherit=True)
        if "/" in name:
            module = name.removesuffix(".py").removesuffix("/__init__")
            importlib.import_module(module.replace("/", "."))

    def run(self, console: str) -> None:
        """Run each command; raises ``AssertionError`` if it fails or its output differs.

        ``...`` stands for any text.
        """
        for command, expected in _COMMAND.findall(console):
            process = subprocess.run(
                command,
                shell=True,
                cwd=self._path,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
            printed = process.stdout
            checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
            if process.returncode or not checker.check_output(expected, printed, flags):
                raise AssertionError(
                    f"{PROMPT}{command}\nended with {process.returncode} and printed\n{printed}\n"
                    f"instead of\n{expected}"
                )

    def close(self) -> None:
        _remove_modules(self._names)
        for table, path, other in self._others:
            table[path] = other
        sys.path.remove(str(self._path))
        os.chdir(self._before)
        shutil.rmtree(self._path)

    def _own(self, name: str) -> None:
        if name not in self._names:
            # The process may use another module of this name outside of the document.
            self._others += _remove_modules({name})
            self._names.add(name)


def _remove_modules(names: Container[str]) -> list[tuple[dict[str, Any], str, Any]]:
    """Remove the modules of these packages, and their event classes, and return both."""
    tables: list[dict[str, Any]] = [sys.modules, *defined_events.values()]
    return [
        (table, path, table.pop(path))
        for table in tables
        for path in list(table)
        if path.partition(".")[0] in names
    ]


def _environment() -> dict[str, str]:
    """Return the environment, with this interpreter first and without the settings of pytest."""
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(_PYTEST_VARIABLES)
    }
    scripts = Path(sys.executable).parent
    return {
        **own,
        "PATH": f"{scripts}{os.pathsep}{own.get('PATH', '')}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "80",
    }
