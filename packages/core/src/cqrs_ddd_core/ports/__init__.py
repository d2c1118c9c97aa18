"""Ports of the application to the outside world, as small protocols.

The readers of hierarchies are in ``ports.hierarchy``, because they import the domain services.
"""

from typing import TYPE_CHECKING

from ..primitives.lazy_exports import export_lazily

if TYPE_CHECKING:
    from .backend import *
    from .background_worker import *
    from .blob_storage import *
    from .bus import *
    from .cache import *
    from .clock import *
    from .event_dispatcher import *
    from .event_store import *
    from .heartbeats import *
    from .inbox import *
    from .locking import *
    from .messaging import *
    from .middleware import *
    from .outbox import *
    from .queue_signal import *
    from .repository import *
    from .search_result import *
    from .unit_of_work import *
    from .upcasting import *
    from .validation import *
else:
    __getattr__, __dir__ = export_lazily(
        __name__,
        "unit_of_work",
        "repository",
        "middleware",
        "event_store",
        "event_dispatcher",
        "bus",
        "search_result",
        "outbox",
        "inbox",
        "heartbeats",
        "clock",
        "queue_signal",
        "cache",
        "locking",
        "validation",
        "messaging",
        "backend",
        "background_worker",
        "upcasting",
        "blob_storage",
    )
