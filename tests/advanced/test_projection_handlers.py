"""How projections are written, and what is refused."""

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
    TillOpened,
    Tills,
    new_till,
    opened_and_sold,
    stored,
)


@contextmanager
def changed_by(documents: ProjectionDocuments, ids: Collection[str]) -> Iterator[None]:
    documents.begin_event(ids)
    try:
        yield
    except BaseException:
        documents.end_event(keep=False)
        raise
    documents.end_event(keep=True)


def with_one_document() -> ProjectionDocuments:
    documents = ProjectionDocuments("tills")
    documents.add_stored(["one"], {"one": {"cents": 1, "seen": []}})
    return documents


def test_an_event_whose_class_is_not_imported_is_missed_before_the_first_event() -> None:
    def apply(self: Any, event: Any, documents: Any) -> None: ...

    apply.__annotations__.clear()
    members = {"collection": "careless", "apply_NowhereImported": apply}
    careless: type[ProjectionHandler] = type("Careless", (ProjectionHandler,), members)

    with pytest.raises(ProjectionError, match="no event class of this name"):
        careless().verify()
    Tills().verify()


def test_events_are_found_by_name_and_by_mark() -> None:
    tills = Tills()

    assert [tills.handles(each) for each in ("ItemSold", "SaleTakenBack", "Unheard")] == [
        True,
        True,
        False,
    ]


def test_a_handled_event_whose_class_nobody_registered_is_an_error_and_not_passed_over() -> None:
    class NeverRegistered(DomainEvent):
        pass

    class Forgetful(Tills):
        def apply_NeverRegistered(
            self, event: NeverRegistered, documents: ProjectionDocuments
        ) -> None: ...

    handler = Forgetful()
    event = stored(new_till(), [TillOpened(place="hall")])[0]
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
def test_a_handler_that_cannot_run_is_refused(members: dict[str, Any], problem: str) -> None:
    wrong = type("Wrong", (Tills,), members)

    with pytest.raises(ProjectionError, match=problem):
        wrong()


def test_a_handler_without_methods_is_refused() -> None:
    class Empty(ProjectionHandler):
        collection = "empty"

    with pytest.raises(ProjectionError, match="no method for any event"):
        Empty()


def test_a_method_that_lacks_the_view_is_refused_where_the_class_is_written() -> None:
    with pytest.raises(
        EventHandlerError, match=r"write def apply_ItemSold\(self, event, documents\)"
    ):

        class Wrong(ProjectionHandler):
            def apply_ItemSold(self, event: ItemSold) -> None: ...


@pytest.mark.parametrize("ids", ["monday", (1,), [None]])
def test_ids_that_are_none_are_refused(ids: Any) -> None:
    class Wrong(Days):
        def document_ids(self, event: DomainEvent) -> Iterable[str]:
            answer: Iterable[str] = ids
            return answer

    with pytest.raises(ProjectionError, match="return texts in a tuple"):
        Wrong().resolve_document_ids(ItemSold(cents=1))


def test_document_that_the_event_does_not_affect_is_an_error() -> None:
    documents = with_one_document()

    with changed_by(documents, {"one"}):
        for touch in (documents.get, documents.delete, lambda doc_id: documents.upsert(doc_id, {})):
            with pytest.raises(ProjectionError, match="return this id from document_ids"):
                touch("other")


def test_handler_gets_copies_of_documents_as_json_restores_them() -> None:
    documents = with_one_document()
    with changed_by(documents, {"one"}):
        got = documents.get("one") or {}
        got["seen"].append(7)
        given = {"price": Decimal("1.50"), "seen": [1]}
        unchanged = documents.get("one")
        documents.upsert("one", given)
        given["seen"] = [2]

        assert unchanged == {"cents": 1, "seen": []}
        assert documents.get("one") == {"price": "1.50", "seen": [1]}
    assert documents.upserts == {"one": {"price": "1.50", "seen": [1]}}


def test_an_event_that_fails_changes_nothing() -> None:
    documents = with_one_document()

    def fail() -> None:
        with changed_by(documents, {"one"}):
            documents.upsert("one", {"cents": 2})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert documents.upserts == {}
    with changed_by(documents, {"one"}):
        assert documents.get("one") == {"cents": 1, "seen": []}


@pytest.mark.parametrize("doc", [{"cents": object()}, {"cents": b"\xff"}])
def test_document_that_is_no_json_fails_at_its_event(doc: Any) -> None:
    documents = with_one_document()

    with pytest.raises(SerializationError, match="tills one"), changed_by(documents, {"one"}):
        documents.upsert("one", doc)


def test_a_model_instead_of_a_dict_is_refused() -> None:
    class Model(pydantic.BaseModel):
        cents: int = 1

    documents = with_one_document()

    with pytest.raises(SerializationError, match="model_dump"), changed_by(documents, {"one"}):
        documents.upsert("one", Model())  # type: ignore[arg-type]


def test_a_document_that_was_never_stored_need_not_be_deleted() -> None:
    documents = ProjectionDocuments("tills")
    documents.add_stored(["one", "two"], {"two": {}})
    with changed_by(documents, {"one", "two"}):
        documents.upsert("one", {})
        documents.delete("one")
        documents.delete("two")

    assert (documents.upserts, documents.deletions) == ({}, ["two"])


def test_second_handler_of_a_collection_cannot_be_registered() -> None:
    class SameCollection(Days):
        collection = "tills"

    tills = Tills()
    registry = ProjectionRegistry([tills])

    for other in (Tills(), SameCollection()):
        with pytest.raises(HandlerAlreadyRegisteredError, match="Tills already writes 'tills'"):
            registry.register(other)
    assert list(registry) == [tills]


@pytest.mark.parametrize("projections", [Tills, Tills(), [Tills], 3])
def test_argument_that_is_no_list_of_handlers_is_an_error(projections: Any) -> None:
    with pytest.raises(ProjectionError):
        ProjectionRegistry.create(projections)


async def test_a_live_projection_tells_how_it_was() -> None:
    events, one, other = InMemoryEventStore(), new_till(), new_till()
    await events.append_batch(stored(one, opened_and_sold(5)))
    await events.append_batch(stored(other, opened_and_sold(7)))
    await events.append_batch(stored(one, [ItemSold(cents=1)], after=2))
    days, tills = LiveProjection(Days(), events, page=2), LiveProjection(Tills(), events)

    assert await days.get("monday") == {"cents": 13, "count": 3}
    assert await days.get("monday", until=4) == {"cents": 12, "count": 2}
    assert await days.get("sunday") is None
    assert (await tills.get(one.aggregate_id) or {})["seen"] == [1, 2, 3]
    assert (await tills.get(one.aggregate_id, until=2) or {})["seen"] == [1, 2]
    assert set(await tills.get_all()) == {one.aggregate_id, other.aggregate_id}


async def test_two_types_that_share_an_id_make_one_live_document() -> None:
    events, till = InMemoryEventStore(), new_till()
    await events.append_batch(stored(till, opened_and_sold(5)))
    await events.append_batch(stored(till._replace(aggregate_type="Kiosk"), [ItemSold(cents=2)]))

    found = await LiveProjection(Tills(), events).get(till.aggregate_id)

    assert (found or {})["cents"] == 7
