"""The class that a generic one was given in its brackets."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from cqrs_ddd_core.domain.aggregate import AggregateRoot


def aggregate_in_brackets_of(repository: object, generic: type[Any]) -> type[Any] | None:
    """``Order`` of ``class Orders(Generic[Order, str])``, and of an instance made by that."""
    given = getattr(repository, "__orig_class__", None)  # Of typing.
    bases = [base for owner in type(repository).__mro__ for base in _generic_bases(owner)]
    for base in [given, *bases]:
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, generic):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, AggregateRoot):
                    return argument
    return None


def _generic_bases(owner: type[Any]) -> tuple[Any, ...]:
    bases: tuple[Any, ...] = owner.__dict__.get("__orig_bases__", ())
    return bases
