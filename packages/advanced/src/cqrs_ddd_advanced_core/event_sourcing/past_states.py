"""States of the past, which are not saved."""

from __future__ import annotations

from typing import Any

from cqrs_ddd_core.domain.aggregate import AggregateRoot

from ..exceptions import PastStateError


def refuse_past(aggregate: AggregateRoot[Any]) -> None:
    """Raises ``PastStateError`` for what was loaded by ``version=`` or ``at=``, and for copies."""
    if aggregate.is_historical:
        raise PastStateError(
            f"{aggregate.aggregate_type} {aggregate.id} was loaded as it was at version "
            f"{aggregate.version}, and the past cannot be saved; load it without version= and at=",
            aggregate_type=aggregate.aggregate_type,
            aggregate_id=aggregate.id,
            version=aggregate.version,
        )
