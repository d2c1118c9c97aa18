"""Adapters of the advanced package's ports, which require the extra ``advanced``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..schema.advanced_tables import is_advanced_installed

if TYPE_CHECKING:
    from .dead_letters import *
    from .persistence import *
    from .positions.store import *
    from .projections.store import *
    from .snapshots import *

__all__ = [
    "SQLAlchemyDeadLetterStore",
    "SQLAlchemyOperationPersistence",
    "SQLAlchemyPositionStore",
    "SQLAlchemyProjectionDualPersistence",
    "SQLAlchemyProjectionStore",
    "SQLAlchemyQueryPersistence",
    "SQLAlchemyQuerySpecificationPersistence",
    "SQLAlchemyRetrievalPersistence",
    "SQLAlchemySnapshotStore",
]

_MODULES = ("dead_letters", "persistence", "positions.store", "projections.store", "snapshots")
"""Modules imported at the first use, so that this package can be imported without the extra."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        modules = [import_module(f".{each}", __name__) for each in _MODULES]
    except ModuleNotFoundError as error:
        if is_advanced_installed():
            raise
        raise ImportError(
            f"{name} requires cqrs-ddd-advanced-core; "
            'run pip install "cqrs-ddd-persistence-sqlalchemy[advanced]"'
        ) from error
    return next(getattr(module, name) for module in modules if hasattr(module, name))
