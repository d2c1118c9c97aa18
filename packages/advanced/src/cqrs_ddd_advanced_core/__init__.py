"""Event sourcing, snapshots, upcasting, projections, conflicts and the persistence dispatcher."""

from typing import TYPE_CHECKING

from cqrs_ddd_core.primitives.lazy_exports import export_lazily

if TYPE_CHECKING:
    from .conflict import *
    from .event_sourcing import *
    from .exceptions import *
    from .persistence import *
    from .ports import *
    from .projections import *
    from .services import *
    from .snapshots import *
    from .upcasting import *
else:
    __getattr__, __dir__ = export_lazily(
        __name__,
        "event_sourcing",
        "persistence",
        "projections",
        "services",
        "conflict",
        "snapshots",
        "upcasting",
        "ports",
        "exceptions",
    )
