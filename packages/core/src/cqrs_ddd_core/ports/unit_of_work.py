"""Port of the unit of work: adapters subclass ``UnitOfWork``."""

from ..unit_of_work import UnitOfWork, get_current_uow

IUnitOfWork = UnitOfWork
"""Name of the port in annotations."""

__all__ = ["IUnitOfWork", "UnitOfWork", "get_current_uow"]
