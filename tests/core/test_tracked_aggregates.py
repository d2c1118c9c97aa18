from __future__ import annotations

import pytest

from cqrs_ddd_core import AggregateRoot, DomainEvent
from cqrs_ddd_core.primitives.exceptions import UnsavedChangesError
from cqrs_ddd_core.unit_of_work import TrackedAggregates


class Noted(DomainEvent):
    pass


class Book(AggregateRoot[str]):
    pass


def _book(events: int = 0, book_id: str = "b-1") -> Book:
    book = Book(id=book_id)
    for _ in range(events):
        book.add_event(Noted())
    return book


def test_events_of_tracked_aggregates_are_drained_once() -> None:
    tracked, book = TrackedAggregates(), _book(2)
    tracked.track(book)

    first = tracked.drain_new_events()
    book.add_event(Noted())
    second = tracked.drain_new_events()

    assert [event.aggregate_version for event in first] == [1, 2]
    assert [event.aggregate_version for event in second] == [3]


def test_event_that_a_handler_also_returns_is_drained_once() -> None:
    tracked, book = TrackedAggregates(), _book(1)
    further = Noted()
    tracked.mark_saved(book, 1)

    tracked.add_events([book.pending_events[0], further, further])

    assert tracked.drain_new_events() == [book.pending_events[0], further]


def test_events_recorded_after_the_save_are_rejected() -> None:
    tracked, book = TrackedAggregates(), _book(1)
    tracked.mark_saved(book, book.next_version)
    book.add_event(Noted())

    with pytest.raises(UnsavedChangesError, match=r"Book b-1 recorded 1 event\(s\)") as caught:
        tracked.ensure_all_saved()

    assert (caught.value.aggregate_type, caught.value.aggregate_id) == ("Book", "b-1")


def test_tracked_aggregate_without_changes_need_not_be_saved() -> None:
    tracked = TrackedAggregates()

    tracked.track(_book())

    tracked.ensure_all_saved()


def test_aggregate_version_advances_at_the_commit() -> None:
    tracked, book = TrackedAggregates(), _book(2)
    tracked.mark_saved(book, book.next_version)
    tracked.drain_new_events()
    assert book.version == 0

    tracked.mark_committed()

    assert (book.version, book.uncommitted_event_count, book.pending_events) == (2, 0, ())


def test_events_that_were_not_drained_stay_pending() -> None:
    tracked, book = TrackedAggregates(), _book(1)
    tracked.mark_saved(book, book.next_version)

    tracked.mark_committed()

    assert (book.version, len(book.pending_events)) == (1, 1)


def test_events_of_a_deleted_aggregate_are_drained() -> None:
    tracked, book = TrackedAggregates(), _book(1)
    other = _book(0, "b-2")
    tracked.track(book)
    tracked.track(other)

    tracked.mark_deleted(Book, "b-1")

    tracked.ensure_all_saved()
    assert len(tracked.drain_new_events()) == 1


def test_change_of_an_aggregate_after_its_deletion_is_rejected() -> None:
    tracked, book = TrackedAggregates(), _book(0)
    tracked.track(book)
    tracked.mark_deleted(Book, "b-1")

    book.add_event(Noted())

    with pytest.raises(UnsavedChangesError):
        tracked.ensure_all_saved()


def test_saved_version_belongs_to_the_object_and_not_to_its_id() -> None:
    tracked, book = TrackedAggregates(), _book(1)

    assert tracked.get_saved_version(book) is None
    tracked.mark_saved(book, 1)
    assert tracked.get_saved_version(book) == 1
    assert tracked.get_saved_version(_book(1)) is None
    tracked.mark_deleted(Book, book.id)
    assert tracked.get_saved_version(book) is None
    tracked.mark_saved(book, 1)
    assert tracked.get_saved_version(book) == 1


def test_untracked_aggregate_is_ignored_unless_it_has_changed() -> None:
    tracked = TrackedAggregates()
    untouched, changed, saved = _book(), _book(1, "b-2"), _book(0, "b-3")
    for book in (untouched, changed):
        tracked.track(book)
    tracked.mark_saved(saved, 1)

    tracked.untrack([untouched, changed, saved, _book(0, "never seen")])
    untouched.add_event(Noted())

    assert tracked.get_saved_version(saved) == 1
    assert tracked.drain_new_events() == list(changed.pending_events)


def test_exclude_appended_removes_the_events_that_a_repository_appended() -> None:
    tracked, book, other = TrackedAggregates(), _book(2), _book(1, "b-2")
    first, second = book.pending_events
    (of_another,) = other.pending_events

    tracked.mark_appended(book, [first, second])
    tracked.mark_saved(other, 1)

    assert tracked.exclude_appended([first, of_another, second]) == [of_another]
    assert tracked.drain_new_events() == [first, second, of_another]


def test_version_of_an_appended_aggregate_advances_only_at_the_commit() -> None:
    tracked, book = TrackedAggregates(), _book(2)

    tracked.mark_appended(book, book.pending_events)
    assert tracked.has_changed("b-1")
    assert tracked.get_saved_version(book) is None
    tracked.ensure_all_saved()
    assert book.version == 0

    tracked.mark_committed()
    assert (book.version, book.uncommitted_event_count) == (2, 0)


def test_event_recorded_after_the_append_is_rejected_until_it_is_appended() -> None:
    tracked, book = TrackedAggregates(), _book(1)
    tracked.mark_appended(book, book.pending_events)
    book.add_event(Noted())

    with pytest.raises(UnsavedChangesError):
        tracked.ensure_all_saved()
    tracked.mark_appended(book, book.pending_events[1:])
    tracked.ensure_all_saved()
    tracked.untrack([book])
    tracked.mark_committed()

    assert book.version == 2
