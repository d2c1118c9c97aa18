"""The query roles of a persistence dispatcher, over documents in tables."""

from __future__ import annotations

from typing import TypeVar

from cqrs_ddd_advanced_core.projections import ProjectionBackedDualPersistence
from cqrs_ddd_core.domain.aggregate import ID

R = TypeVar("R")


class SQLAlchemyProjectionDualPersistence(ProjectionBackedDualPersistence[R, ID]):
    """The same as its base, under the name of the place where a unit of work has its documents.

    All that SQL adds is in the store: a search reads indexed columns, and ``stream`` a cursor.
    """
