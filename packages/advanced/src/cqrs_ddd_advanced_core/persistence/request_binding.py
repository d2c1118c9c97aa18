"""What is asked for, and answers in its order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from cqrs_ddd_core.context import get_tenant_id, get_user_id, request_context
from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork, get_current_uow
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..ports.persistence import IdOf

V = TypeVar("V")


def distinct_ids(ids: Any, name: str) -> list[Any]:
    """Each once, in their order; raises ``InvalidOperationError`` for what is no list of ids."""
    if not isinstance(ids, Collection) or isinstance(ids, (str, bytes, Mapping)):
        raise InvalidOperationError(f"cannot fetch {name} by {ids!r}; pass a list of ids")
    try:
        return list(dict.fromkeys(ids))
    except TypeError:
        raise InvalidOperationError(
            f"cannot fetch {name} by {ids!r}; an id is a text, a number or a UUID"
        ) from None


def is_condition(criteria: Any) -> bool:
    """Whether it is a specification or query options, and no ids."""
    if type(criteria) in (list, tuple):  # Asking a protocol takes longer than all the rest.
        return False
    return isinstance(criteria, (ISpecification, IQueryOptions))


def in_order(found: list[V], ids: Iterable[Any], id_of: IdOf | None) -> list[V]:
    """In the order of the ids, each once; ids are compared as text, what was not asked for is last.

    Without ``id_of`` as they come.
    """
    if id_of is None or len(found) < 2:
        return found
    places = {str(each): index for index, each in enumerate(ids)}
    distinct = {str(id_of(value)): value for value in reversed(found)}
    return [distinct[each] for each in sorted(distinct, key=lambda e: places.get(e, len(places)))]


def bind_request(work: Callable[..., Awaitable[V]]) -> Callable[..., Awaitable[V]]:
    """The same, for the tenant and the user of the present request, whenever it is done."""
    tenant_id, user_id = get_tenant_id(), get_user_id()

    async def done(*args: Any) -> V:
        with request_context(tenant_id=tenant_id, user_id=user_id):
            return await work(*args)

    return done


def current_uow(uow: Any) -> UnitOfWork | None:
    """The unit of work that is given, else the open one of the running command.

    Raises ``InvalidOperationError`` for one that has ended.
    """
    if uow is None:
        return get_current_uow()
    if isinstance(uow, UnitOfWork):
        uow.ensure_open("take part in it")
        return uow
    raise InvalidOperationError(f"{uow!r} is not a unit of work; pass one as uow=, or none")
