"""``make bench`` measures all rows, ``make bench ARGS=rehydrate`` those with such a name."""

from __future__ import annotations

import sys
from pathlib import Path

from . import core, messaging
from .measuring import run


def main() -> int:
    wanted = " ".join(sys.argv[1:])
    known = [*core.rows(), *messaging.rows()]
    rows = [row for row in known if wanted in row.name]
    if not rows:
        names = "\n  ".join(row.name for row in known)
        print(f"no row is named like {wanted!r}; there are:\n  {names}")
        return 2
    over = run(rows, to=Path(".bench/core.json"))
    return 1 if over else 0


raise SystemExit(main())
