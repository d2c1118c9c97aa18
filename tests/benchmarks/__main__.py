"""Measurement of all rows by ``make bench``, or of some by ``make bench ARGS=rehydrate``."""

from __future__ import annotations

import sys
from pathlib import Path

from . import (
    caching,
    core,
    dispatching,
    event_sourcing,
    locks,
    messaging,
    order_import,
    persistence,
    projecting,
    relays,
    repositories,
    specifications,
)
from .databases import Databases
from .measuring import run, select_rows


def main() -> int:
    with Databases() as databases:
        known = [
            *core.build_rows(),
            *messaging.build_rows(),
            *dispatching.build_rows(),
            *specifications.build_rows(),
            *persistence.build_rows(databases),
            *event_sourcing.build_rows(databases),
            *projecting.build_rows(databases),
            *relays.build_rows(databases),
            *repositories.build_rows(databases),
            *order_import.build_rows(databases),
            *caching.build_rows(databases),
            *locks.build_rows(databases),
        ]
        over = run(select_rows(known, " ".join(sys.argv[1:])), to=Path(".bench/figures.json"))
    return 1 if over else 0


raise SystemExit(main())
