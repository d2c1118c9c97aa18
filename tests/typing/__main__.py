"""Check of `application.py` and `mistakes.py` with mypy and pyright, as a part of `make types`.

Both have to report each line that ends with the mark, and no other line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FILES = sorted(Path(__file__).parent.glob("*.py"))
CHECKERS = {"mypy": ["mypy", *map(str, FILES)], "pyright": ["basedpyright"]}
MARK = "# error"
REPORT = re.compile(r"^\s*(\S+\.py):(\d+)(?::\d+ -|:) error", re.MULTILINE)

Line = tuple[Path, int]


def find_marked_lines() -> set[Line]:
    return {
        (file, number)
        for file in FILES
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if line.endswith(f"  {MARK}")
    }


def find_reported_lines(output: str) -> set[Line]:
    return {(Path(path).resolve(), int(number)) for path, number in REPORT.findall(output)}


def main() -> int:
    marked, has_failed = find_marked_lines(), False
    for name, (module, *arguments) in CHECKERS.items():
        command = [sys.executable, "-m", module, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        reported = find_reported_lines(ended.stdout)
        for file, number in sorted(marked - reported):
            print(f"{file}:{number}: {name} accepts this line, which is marked as an error")
        if reported - marked or not reported:
            print(ended.stdout, ended.stderr, sep="\n")
        has_failed |= reported != marked
        print(f"{name} reports {len(reported)} lines, {len(marked)} are marked")
    return int(has_failed)


if __name__ == "__main__":
    raise SystemExit(main())
