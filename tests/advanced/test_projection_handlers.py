"""Tests of projection handlers, their documents and their registry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from cqrs_ddd_advanced_core.exceptions import ProjectionError
from cqrs_ddd_advanced_core.projections import (
    LiveProjection,
    ProjectionDocuments,
    ProjectionHandler,
    ProjectionRegistry,
)
from cqrs_ddd_core import DomainEvent
from cqrs_ddd_core.adapters.memory import InMemoryEventStore
from cqrs_ddd_core.primitives.exceptions import (
    EventHandlerError,
    HandlerAlreadyRegisteredError,
    SerializationError,
    UnknownTypeError,
)
from tests.advanced.till_domain import (
    Days,
    ItemSold,
    LaterTills,
    TillOpened,
    Tills,
    new_till,
    open_and_sell,
    to_stored,
)


@contextmanager
def apply_event(documents: ProjectionDocuments, ids: Collection[str]) -> Iterator[None]:
    documents.begin_event(ids)
    try:
        yield
    except BaseException:
        documents.end_event(keep=False)
        raise
    documents.end_event(keep=True)


def create_documents() -> ProjectionDocuments:
    documents = ProjectionDocuments("tills")
    documents.add_stored(["one"], {"one": {"cents": 1, "seen": []}})
    return documents


def test_verify_reports_a_handled_event_whose_class_is_not_imported() -> None:
    def apply(self: Any, event: Any, documents: Any) -> None: ...

    apply.__annotations__.clear()
    members = {"collection": "unverified", "apply_NowhereImported": apply}
    unverified: type[ProjectionHandler] = type("Unverified", (ProjectionHandler,), members)

    with pytest.raises(ProjectionError, match="no event class of this name"):
        unverified().verify()
    Tills().verify()


def test_projection_handler_finds_methods_by_event_name_and_by_decorator() -> None:
    tills = Tills()

    assert [tills.handles(each) for each in ("ItemSold", "SaleRefunded", "UnknownEvent")] == [
        True,
        True,
        False,
    ]


def test_handled_event_of_an_unregistered_class_is_an_error_and_not_skipped() -> None:
    class NeverRegistered(DomainEvent):
        pass

    class UnregisteredTills(Tills):
        def apply_NeverRegistered(
            self, event: NeverRegistered, documents: ProjectionDocuments
        ) -> None: ...

    handler = UnregisteredTills()
    event = to_stored(new_till(), [TillOpened(place="hall")])[0]
    object.__setattr__(event, "event_type", "NeverRegistered")

    assert handler.handles("NeverRegistered")
    with pytest.raises(UnknownTypeError, match="NeverRegistered"):
        handler.decode(event)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"collection": ""}, "has no collection"),
        ({"version": 0}, "versions count from 1"),
        ({"version": "2"}, "versions count from 1"),
        ({"collection": "x__rebuild"}, "suffix of rebuilds, __rebuild"),
        ({"collection": "x" * 40}, "39 at most"),
        ({"collection": 3}, "has no collection"),
    ],
)
def test_projection_handler_with_invalid_collection_or_version_is_rejected(
    members: dict[str, Any], problem: str
) -> None:
    wrong = type("Wrong", (Tills,), members)

    with pytest.raises(ProjectionError, match=problem):
        wrong()


def test_projection_handler_without_event_methods_is_rejected() -> None:
    class Empty(ProjectionHandler):
        collection = "empty"

    with pytest.raises(ProjectionError, match="no method for any event"):
        Empty()


def test_event_method_without_a_documents_parameter_is_rejected_in_the_class_body() -> None:
    with pytest.raises(
        EventHandlerError, match=r"write def apply_ItemSold\(self, event, documents\)"
    ):

        class Wrong(ProjectionHandler):
            def apply_ItemSold(self, event: ItemSold) -> None: ...


@pytest.mark.parametrize("ids", ["monday", (1,), [None]])
def test_document_ids_that_are_not_a_tuple_of_texts_are_rejected(ids: Any) -> None:
    class Wrong(Days):
        def document_ids(self, event: DomainEvent) -> Iterable[str]:
            answer: Iterable[str] = ids
            return answer

    with pytest.raises(ProjectionError, match="return texts in a tuple"):
        Wrong().resolve_document_ids(ItemSold(cents=1))


def test_handler_cannot_touch_a_document_that_document_ids_does_not_name() -> None:
    documents = create_documents()

    with apply_event(documents, {"one"}):
        for touch in (documents.get, documents.delete, lambda doc_id: documents.upsert(doc_id, {})):
            with pytest.raises(ProjectionError, match="return this id from document_ids"):
                touch("other")


def test_handler_gets_copies_of_documents_as_json_restores_them() -> None:
    documents = create_documents()
    with apply_event(documents, {"one"}):
        got = documents.get("one") or {}
        got["seen"].append(7)
        given = {"price": Decimal("1.50"), "seen": [1]}
        unchanged = documents.get("one")
        documents.upsert("one", given)
        given["seen"] = [2]

        assert unchanged == {"cents": 1, "seen": []}
        assert documents.get("one") == {"price": "1.50", "seen": [1]}
    assert documents.upserts == {"one": {"price": "1.50", "seen": [1]}}


def test_failing_event_leaves_the_documents_unchanged() -> None:
    documents = create_documents()

    def fail() -> None:
        with apply_event(documents, {"one"}):
            documents.upsert("one", {"cents": 2})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert documents.upserts == {}
    with apply_event(documents, {"one"}):
        assert documents.get("one") == {"cents": 1, "seen": []}


@pytest.mark.parametrize("doc", [{"cents": object()}, {"cents": b"\xff"}])
def test_document_that_is_not_json_fails_at_its_event(doc: Any) -> None:
    documents = create_documents()

    with pytest.raises(SerializationError, match="tills one"), apply_event(documents, {"one"}):
        documents.upsert("one", doc)


def test_document_that_is_a_model_instead_of_a_dict_is_rejected() -> None:
    class Model(pydantic.BaseModel):
        cents: int = 1

    documents = create_documents()

    with pytest.raises(SerializationError, match="model_dump"), apply_event(documents, {"one"}):
        documents.upsert("one", Model())  # type: ignore[arg-type]


def test_deleting_a_document_that_was_never_stored_writes_nothing() -> None:
    documents = ProjectionDocuments("tills")
    documents.add_stored(["one", "two"], {"two": {}})
    with apply_event(documents, {"one", "two"}):
        documents.upsert("one", {})
        documents.delete("one")
        documents.delete("two")

    assert (documents.upserts, documents.deletions) == ({}, ["two"])


def test_second_handler_of_a_collection_needs_another_version() -> None:
    class SameCollection(Days):
        collection = "tills"

    tills, later = Tills(), LaterTills()
    registry = ProjectionRegistry([later, tills])

    for other in (tills, Tills(), SameCollection()):
        with pytest.raises(
            HandlerAlreadyRegisteredError, match="Tills already writes version 1 of 'tills'"
        ):
            registry.register(other)
    assert list(registry) == [later]
    assert registry.get_versions("tills") == {1: tills, 2: later}


@pytest.mark.parametrize("projections", [Tills, Tills(), [Tills], 3])
def test_projection_registry_accepts_only_a_list_of_handlers(projections: Any) -> None:
    with pytest.raises(ProjectionError):
        ProjectionRegistry.create(projections)


async def test_live_projection_returns_documents_as_of_a_position() -> None:
    events, one, other = InMemoryEventStore(), new_till(), new_till()
    await events.append_batch(to_stored(one, open_and_sell(5)))
    await events.append_batch(to_stored(other, open_and_sell(7)))
    await events.append_batch(to_stored(one, [ItemSold(cents=1)], after=2))
    days, tills = LiveProjection(Days(), events, page=2), LiveProjection(Tills(), events)

    assert await days.get("monday") == {"cents": 13, "count": 3}
    assert await days.get("monday", until=4) == {"cents": 12, "count": 2}
    assert await days.get("sunday") is None
    assert (await tills.get(one.aggregate_id) or {})["seen"] == [1, 2, 3]
    assert (await tills.get(one.aggregate_id, until=2) or {})["seen"] == [1, 2]
    assert set(await tills.get_all()) == {one.aggregate_id, other.aggregate_id}


async def test_aggregate_types_that_share_an_id_share_one_live_document() -> None:
    events, till = InMemoryEventStore(), new_till()
    await events.append_batch(to_stored(till, open_and_sell(5)))
    await events.append_batch(to_stored(till._replace(aggregate_type="Kiosk"), [ItemSold(cents=2)]))

    found = await LiveProjection(Tills(), events).get(till.aggregate_id)

    assert (found or {})["cents"] == 7
