"""Which objects are states of the past."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from cqrs_ddd_core.domain.aggregate import AggregateRoot

from ..exceptions import PastStateError

# By identity, and not as a field: a state of the past equals the state that it was.
_past: WeakValueDictionary[int, AggregateRoot[Any]] = WeakValueDictionary()


def mark_as_past(aggregate: AggregateRoot[Any]) -> None:
    _past[id(aggregate)] = aggregate


def refuse_past(aggregate: AggregateRoot[Any]) -> None:
    """Raises ``PastStateError`` for what was loaded by ``version=`` or ``at=``."""
    if _past.get(id(aggregate)) is aggregate:
        raise PastStateError(
            f"{aggregate.aggregate_type} {aggregate.id} was loaded as it was at version "
            f"{aggregate.version}, and the past cannot be saved; load it without version= and at=",
            aggregate_type=aggregate.aggregate_type,
            aggregate_id=aggregate.id,
            version=aggregate.version,
        )
