from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextvars import copy_context

from cqrs_ddd_core import (
    ContextFilter,
    correlation_scope,
    get_causation_id,
    get_correlation_id,
    install_context_filter,
)
from cqrs_ddd_core.context import get_tenant_id, get_user_id, request_context


def _ids() -> tuple[str | None, str | None]:
    return get_correlation_id(), get_causation_id()


def test_correlation_scopes_nest_and_restore_the_outer_ids() -> None:
    assert _ids() == (None, None)

    with correlation_scope("request-1", "command-1"):
        with correlation_scope("request-2"):
            assert _ids() == ("request-2", None)
        assert _ids() == ("request-1", "command-1")

    assert _ids() == (None, None)


async def test_tasks_inherit_the_correlation_id_and_do_not_leak_their_own() -> None:
    seen: list[str | None] = []

    async def child() -> None:
        seen.append(get_correlation_id())
        with correlation_scope("of the child"):
            await asyncio.sleep(0)

    with correlation_scope("of the parent"):
        await asyncio.gather(child(), child())
        assert get_correlation_id() == "of the parent"

    assert seen == ["of the parent", "of the parent"]


def test_request_context_resets_tenant_and_user_after_a_failed_block() -> None:
    try:
        with request_context(tenant_id="t-1", user_id="u-1"):
            assert (get_tenant_id(), get_user_id()) == ("t-1", "u-1")
            raise LookupError
    except LookupError:
        pass

    assert (get_tenant_id(), get_user_id()) == (None, None)


def test_block_that_ends_in_another_context_restores_the_ids_of_before() -> None:
    def handle_request() -> Iterator[None]:
        with correlation_scope("request-1", "command-1"), request_context(tenant_id="t-1"):
            yield

    request, first = handle_request(), copy_context()
    first.run(next, request)
    second = first.copy()

    # A web framework runs the two halves of a generator dependency in different contexts.
    second.run(lambda: next(request, None))

    assert second.run(lambda: (*_ids(), get_tenant_id())) == (None, None, None)
    assert (*_ids(), get_tenant_id()) == (None, None, None)


def test_log_records_of_child_loggers_carry_the_context_ids() -> None:
    lines: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Collecting()
    handler.setFormatter(
        logging.Formatter("%(correlation_id)s %(causation_id)s %(tenant_id)s %(user_id)s")
    )
    install_context_filter(handler)
    install_context_filter(handler)
    parent = logging.getLogger("test_correlation")
    parent.addHandler(handler)
    try:
        with correlation_scope("r", "c"), request_context(tenant_id="t", user_id="u"):
            logging.getLogger("test_correlation.child").error("text")
        logging.getLogger("test_correlation.child").error("text")
    finally:
        parent.removeHandler(handler)

    assert lines == ["r c t u", "None None None None"]
    assert [type(present) for present in handler.filters] == [ContextFilter]
