"""What a class needs for a role."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, get_origin

from cqrs_ddd_core.primitives.exceptions import HandlerRegistrationError


@dataclass(frozen=True)
class Role:
    """One kind of registration."""

    name: str
    method: str
    call: str


OPERATION = Role("operation", "persist", "register_operation")
RETRIEVAL = Role("retrieval", "retrieve", "register_retrieval")
QUERY = Role("query", "fetch", "register_query")
QUERY_SPEC = Role("specification query", "fetch", "register_query_spec")

_WITH = {
    OPERATION: "(entity, uow) or (entity, uow, events=...)",
    RETRIEVAL: "(ids, uow)",
    QUERY: "(ids, uow)",
    QUERY_SPEC: "(criteria, uow)",
}


def signature_for(handler_cls: Any, role: Role, type_: type[Any]) -> inspect.Signature:
    """Of the role's method; raises ``HandlerRegistrationError`` for what does not fit."""
    refuse = partial(_unfit, handler_cls, role, type_)
    # As in ``EventSourcedRepository[Order, str]``, which is called as a class is.
    class_ = get_origin(handler_cls) or handler_cls
    if not isinstance(class_, type):
        raise refuse("is not a class; pass the class, and what makes it as handler_factory")
    method = getattr(class_, role.method, None)
    if method is None:
        raise refuse(f"has no method {role.method}")
    if left_out := sorted(getattr(class_, "__abstractmethods__", ())):
        raise refuse(f"is abstract; write {', '.join(left_out)}")
    if not inspect.iscoroutinefunction(method):
        raise refuse(f"has a {role.method} that is not async; write async def")
    signature = inspect.signature(method)
    events = {"events": None} if takes_events(signature) and role is OPERATION else {}
    try:
        signature.bind(None, None, None, **events)
    except TypeError:
        problem = f"has a {role.method}{signature} that cannot be called with {_WITH[role]}"
        raise refuse(problem) from None
    return signature


def takes_events(signature: inspect.Signature) -> bool:
    events = signature.parameters.get("events")
    if events is not None:
        return events.kind is not events.POSITIONAL_ONLY
    return any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())


def _unfit(
    handler_cls: Any, role: Role, type_: type[Any], problem: str
) -> HandlerRegistrationError:
    handler = getattr(handler_cls, "__qualname__", None) or repr(handler_cls)
    return HandlerRegistrationError(
        f"{handler} cannot be the {role.name} handler of {type_.__name__}: it {problem}",
        message_type=type_.__name__,
        handler=handler,
    )
