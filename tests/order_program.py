"""Order system as a program, in a process that starts fast and can be killed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from order_system.__main__ import main

from tests.forking import process

Before = Callable[[], object]


@dataclass(frozen=True)
class CompletionResult:
    """Exit code, or None for a killed process, and output of a program."""

    code: int | None
    stdout: str
    stderr: str


def run_program(
    folder: Path,
    *arguments: str | Path,
    environment: Mapping[str, str],
    life: float,
    before: Before | None = None,
) -> CompletionResult:
    """Run the program, call ``before`` in its process first, and kill it after ``life`` seconds."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as room:
        outputs = Path(room) / "stdout", Path(room) / "stderr"
        for output in outputs:
            output.touch()
        with process(_main, folder, words, dict(environment), outputs, before) as running:
            running.join(life)
            code = running.exitcode
        return CompletionResult(code, *(output.read_text(encoding="utf-8") for output in outputs))


def _main(
    folder: Path,
    words: list[str],
    environment: dict[str, str],
    outputs: tuple[Path, Path],
    before: Before | None,
) -> None:
    os.chdir(folder)
    os.environ.update(environment, COLUMNS="120")
    for stream, path in zip((sys.stdout, sys.stderr), outputs, strict=True):
        with path.open("w", encoding="utf-8") as output:
            os.dup2(output.fileno(), stream.fileno())
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    if before is not None:
        before()
    try:
        code = main(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    sys.exit(code)
