"""Which sentences of the public contract of repositories hold for those that keep events."""

from __future__ import annotations

from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract

NOT_THEIRS = {
    "sets fields without an event": (
        "test_what_was_added_is_found_with_all_its_fields",
        "test_null_stays_null_and_empty_text_stays_empty",
        "test_a_save_without_events_counts_as_one_change",
        "test_many_are_saved_and_answered_in_their_order",
    ),
    "deletes": (
        "test_a_change_of_a_deleted_one_conflicts",
        "test_a_deleted_one_is_gone_and_deleting_again_is_fine",
        "test_after_a_deletion_the_id_can_be_used_anew",
        "test_a_rolled_back_deletion_deletes_nothing",
    ),
    "lists without ids, or searches": (
        "test_a_list_without_ids_holds_all",
        "test_a_search_is_awaited_or_streamed_as_often_as_wished",
        "test_a_search_sees_the_changes_of_its_own_unit_of_work_only",
        "test_null_is_last_in_ascending_order_and_first_in_descending",
        "test_a_page_is_a_part_of_the_whole_order",
        "test_equals_come_in_the_order_of_their_ids_on_every_page",
        "test_an_order_by_what_is_no_attribute_is_refused",
        "test_query_options_for_distinct_rows_are_an_error",
        "test_anything_else_than_a_criterion_is_refused",
    ),
}


class EventSourcedRepositoryContract(RepositoryContract, BulkRepositoryContract):
    """Fixtures: those of ``RepositoryContract`` but for the search."""


for sentences in NOT_THEIRS.values():
    for sentence in sentences:
        assert hasattr(EventSourcedRepositoryContract, sentence), sentence
        setattr(EventSourcedRepositoryContract, sentence, None)
