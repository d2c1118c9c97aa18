"""Normalised arguments of a dispatcher call: ids, criteria and unit of work."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cqrs_ddd_core import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..ports.persistence import IdOf, R


def deduplicate_ids(ids: object, name: str) -> list[object]:
    """Return each id once, in order; raise ``InvalidOperationError`` unless ``ids`` is a list."""
    if not isinstance(ids, Collection) or isinstance(ids, (str, bytes, Mapping)):
        raise InvalidOperationError(f"cannot fetch {name} by {ids!r}; pass a list of ids")
    try:
        return list(dict.fromkeys(ids))
    except TypeError:
        raise InvalidOperationError(
            f"cannot fetch {name} by {ids!r}; use texts, numbers or UUIDs as ids"
        ) from None


def is_condition(criteria: object) -> bool:
    """Report whether the criteria are a specification or query options, and not ids."""
    if type(criteria) in (list, tuple):  # Fast path: `isinstance` with a protocol is slow.
        return False
    return isinstance(criteria, (ISpecification, IQueryOptions))


def sort_by_ids(found: list[R], ids: Iterable[object], id_of: IdOf | None) -> list[R]:
    """Return the results in the order of the ids, each once; without ``id_of`` unchanged.

    Ids are compared as text. Results that were not requested come last.
    """
    if id_of is None or len(found) < 2:
        return found
    places = {str(each): index for index, each in enumerate(ids)}
    distinct = {str(id_of(value)): value for value in reversed(found)}
    return [distinct[each] for each in sorted(distinct, key=lambda e: places.get(e, len(places)))]


def current_uow(uow: object) -> UnitOfWork | None:
    """Return the given unit of work, or else the current one, or None.

    Raises:
        InvalidOperationError: the unit of work has ended.
    """
    if uow is None:
        return get_current_uow()
    if isinstance(uow, UnitOfWork):
        uow.ensure_open("take part in it")
        return uow
    raise InvalidOperationError(f"{uow!r} is not a unit of work; pass one as uow=, or none")
