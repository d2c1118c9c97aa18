"""Events, snapshots and cached results of every kind of field."""

from __future__ import annotations

import warnings
from typing import Any

import pydantic
import pytest

from cqrs_ddd_advanced_core.adapters.memory import InMemorySnapshotStore
from cqrs_ddd_advanced_core.persistence.caching import ResultCodec
from cqrs_ddd_advanced_core.snapshots import AggregateSnapshots
from cqrs_ddd_advanced_core.upcasting import UpcastingEventRegistry
from cqrs_ddd_core import AggregateRoot, ConfigError, DomainEvent, StoredEvent
from cqrs_ddd_core.adapters.memory import InMemoryEventStore
from cqrs_ddd_core.primitives.json_form import find_difference
from cqrs_ddd_core.spi.caching.aggregate_codec import AggregateCodec
from tests.core.json_cases import CASES, CONVERTED, DEFINED, KEPT, RECORDED, Case

KEPT_CASES = [case for case in CASES if case.fate in (KEPT, CONVERTED)]
CASES_WITH_SCHEMA = [case for case in CASES if "Callable" not in str(case.annotation)]


def _name(case: Case) -> str:
    return f"{case.kind} {getattr(case.annotation, '__name__', case.annotation)}"


def _define(case: Case, base: type[Any]) -> Any:
    with warnings.catch_warnings():
        return pydantic.create_model("Kept", __base__=base, value=(case.annotation, ...))


def _may_be_rejected(case: Case) -> bool:
    # The validator of each aggregate makes pydantic read unions as in its python mode.
    return case.fate is RECORDED or "union" in case.kind


@pytest.mark.parametrize("case", KEPT_CASES, ids=_name)
async def test_upcasting_registry_restores_every_kind_of_field(case: Case) -> None:
    event_class = _define(case, DomainEvent)
    registry = UpcastingEventRegistry()
    registry.register(event_class)
    event = event_class(
        value=case.value, aggregate_id="a-1", aggregate_type="A", aggregate_version=1
    )
    store = InMemoryEventStore()
    await store.append(StoredEvent.from_event(event))
    (stored,) = await store.get_events("a-1")

    assert find_difference(event, registry.decode(stored)) is None


@pytest.mark.parametrize("case", CASES_WITH_SCHEMA, ids=_name)
async def test_state_of_every_kind_of_field_is_restored_from_its_snapshot_or_has_none(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    kind, store = _define(case, AggregateRoot[str]), InMemorySnapshotStore()
    if case.fate is DEFINED:
        with pytest.raises(ConfigError, match=r"Kept cannot have snapshots: .* Kept\.value"):
            AggregateSnapshots(kind, store)
        return
    snapshots: AggregateSnapshots[Any] = AggregateSnapshots(kind, store)
    aggregate = kind(id="a-1", value=case.value)
    aggregate.mark_persisted(1)

    snapshot = snapshots.create(aggregate)

    if snapshot is None:
        assert _may_be_rejected(case)
        assert "no snapshot of Kept a-1: " in caplog.text
        return
    await store.save(snapshot)
    restored, _ = await snapshots.load([snapshot.stream])
    assert find_difference(aggregate, restored[snapshot.stream]) is None


@pytest.mark.parametrize("codec", [AggregateCodec, ResultCodec])
@pytest.mark.parametrize("case", CASES_WITH_SCHEMA, ids=_name)
def test_state_of_every_kind_of_field_is_restored_from_the_cache_or_not_cached(
    case: Case, codec: Any
) -> None:
    kind = _define(case, AggregateRoot[str] if codec is AggregateCodec else pydantic.BaseModel)
    if case.fate is DEFINED:
        with pytest.raises(ConfigError, match=r"Kept cannot be cached.* Kept\.value"):
            codec(kind)
        return
    form = codec(kind)
    value = kind(id="a-1", value=case.value)

    state = form.encode(value)

    if state is None:
        assert _may_be_rejected(case)
    else:
        assert find_difference(value, form.decode(state)) is None
