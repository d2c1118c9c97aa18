"""The fields of an aggregate as JSON, to be merged."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import pydantic
from pydantic_core import to_json

from cqrs_ddd_core.domain.aggregate import AggregateRoot
from cqrs_ddd_core.primitives.exceptions import ConfigError, SerializationError, ValidationError
from cqrs_ddd_core.spi.json_fidelity import attributes_lost_in_json, holds_the_same

T = TypeVar("T", bound=AggregateRoot[Any])


def state_of(aggregate: AggregateRoot[Any]) -> dict[str, Any]:
    """Raises ``ConfigError`` for a class whose JSON leaves out or masks a field, and
    ``SerializationError`` for a state that does not come back from JSON as it is."""
    kind = type(aggregate)
    _refuse_lossy(kind)
    try:
        state = aggregate.model_dump(mode="json", round_trip=True, warnings=False)
        revived = kind.model_validate_json(to_json(state))
    except ValueError as error:  # Of pydantic, or of bytes that are no text.
        raise _changed_by_json(aggregate) from error
    if not holds_the_same(revived, aggregate):
        raise _changed_by_json(aggregate)
    return state


def with_state(aggregate: T, state: dict[str, Any]) -> T:
    """The same version with other fields; raises ``ValidationError``."""
    name = f"{aggregate.aggregate_type} {aggregate.id}"
    try:
        changed = type(aggregate).model_validate_json(to_json(state))
    except pydantic.ValidationError as error:
        raise ValidationError.from_pydantic(f"{name} would not be valid", error) from error
    if changed.id != aggregate.id:
        raise ValidationError(f"{name} keeps its id", errors={"id": ("cannot be changed",)})
    changed.mark_persisted(aggregate.version)
    return changed


@cache
def _refuse_lossy(kind: type[AggregateRoot[Any]]) -> None:
    lost = attributes_lost_in_json(kind)
    if lost:
        raise ConfigError(
            f"{kind.__name__} cannot be merged: its JSON leaves out or masks {', '.join(lost)}; "
            "decide again instead, without a strategy, or use fields without exclude=True and "
            "Secret types"
        )


def _changed_by_json(aggregate: AggregateRoot[Any]) -> SerializationError:
    return SerializationError(
        f"{aggregate.aggregate_type} {aggregate.id} cannot be merged: it does not come back from "
        "JSON as it is; decide again instead, without a strategy",
        type_name=type(aggregate).__name__,
    )
