"""Building blocks for domain-driven, CQRS and event-sourced applications."""

from typing import TYPE_CHECKING

from .primitives.lazy_exports import export_lazily

if TYPE_CHECKING:
    from .adapters import *
    from .adapters.memory.backend import *
    from .application import *
    from .config import *
    from .context import *
    from .correlation import *
    from .cqrs import *
    from .domain import *
    from .messaging import *
    from .middleware import *
    from .ports import *
    from .primitives.exceptions import *
    from .primitives.id_generator import *
    from .primitives.result import *
    from .primitives.retry import *
    from .spi.system_clock import *
    from .validation import *
else:
    __getattr__, __dir__ = export_lazily(
        __name__,
        "domain",
        "correlation",
        "context",
        "primitives.exceptions",
        "primitives.result",
        "ports",
        "cqrs",
        "middleware",
        "messaging",
        "adapters",
        "adapters.memory.backend",
        "primitives.retry",
        "primitives.id_generator",
        "config",
        "validation",
        "spi.system_clock",
        "application",
    )
