"""``make bench`` measures all rows, ``make bench ARGS=rehydrate`` those with such a name."""

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
from .measuring import named, run


def main() -> int:
    with Databases() as databases:
        known = [
            *core.rows(),
            *messaging.rows(),
            *dispatching.rows(),
            *specifications.rows(),
            *persistence.rows(databases),
            *event_sourcing.rows(databases),
            *projecting.rows(databases),
            *relays.rows(databases),
            *repositories.rows(databases),
            *order_import.rows(databases),
            *caching.rows(databases),
            *locks.rows(databases),
        ]
        over = run(named(known, " ".join(sys.argv[1:])), to=Path(".bench/figures.json"))
    return 1 if over else 0


raise SystemExit(main())
