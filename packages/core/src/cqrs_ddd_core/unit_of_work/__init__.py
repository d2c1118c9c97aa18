"""Units of work, and the aggregates that take part in one."""

from .tracked_aggregates import TrackedAggregates
from .unit_of_work import UnitOfWork, UnitOfWorkState, get_current_uow

__all__ = ["TrackedAggregates", "UnitOfWork", "UnitOfWorkState", "get_current_uow"]
