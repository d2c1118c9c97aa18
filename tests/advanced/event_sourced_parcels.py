"""Contract of event-sourced repositories: the repository contract without the unsupported part."""

from __future__ import annotations

from cqrs_ddd_core.testing.contracts.bulk_repository import BulkRepositoryContract
from cqrs_ddd_core.testing.contracts.repository import RepositoryContract

UNSUPPORTED = {
    "sets fields without an event": (
        "test_repository_returns_an_added_aggregate_with_all_its_fields",
        "test_repository_distinguishes_null_from_empty_text",
        "test_saving_an_aggregate_without_events_increases_its_version_by_one",
        "test_add_many_saves_aggregates_and_returns_their_ids_in_order",
    ),
    "deletes": (
        "test_change_of_a_deleted_aggregate_conflicts",
        "test_deleted_aggregate_is_gone_and_can_be_deleted_again",
        "test_id_of_a_deleted_aggregate_can_be_used_again",
        "test_rolled_back_deletion_of_an_aggregate_deletes_nothing",
    ),
    "lists without ids, or searches": (
        "test_list_all_without_ids_returns_every_aggregate",
        "test_search_result_can_be_awaited_and_streamed_repeatedly",
        "test_first_result_is_the_first_of_the_page_or_none",
        "test_only_result_rejects_an_empty_page_and_a_second_item_on_it",
        "test_count_of_a_search_includes_every_page_and_own_changes",
        "test_first_result_in_a_unit_of_work_can_be_changed_and_saved",
        "test_search_sees_uncommitted_changes_of_its_own_unit_of_work_only",
        "test_null_sorts_last_in_ascending_and_first_in_descending_order",
        "test_limit_and_offset_return_a_slice_of_the_whole_order",
        "test_aggregates_with_equal_sort_keys_are_ordered_by_id_on_every_page",
        "test_ordering_by_an_unknown_attribute_raises_validation_error",
        "test_repository_search_rejects_distinct_query_options",
        "test_repository_search_rejects_criteria_of_an_unknown_type",
    ),
}


class EventSourcedRepositoryContract(RepositoryContract, BulkRepositoryContract):
    """Contract with the fixtures of ``RepositoryContract``, except for those of the search."""


for names in UNSUPPORTED.values():
    for name in names:
        assert hasattr(EventSourcedRepositoryContract, name), name
        setattr(EventSourcedRepositoryContract, name, None)
