from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from cqrs_ddd_core.instrumentation import InstrumentationHooks, Operation


@pytest.fixture
def hooks() -> InstrumentationHooks:
    return InstrumentationHooks()


@pytest.fixture
def log() -> list[str]:
    return []


def _build_hook(log: list[str], name: str) -> Any:
    @contextmanager
    def hook(operation: Operation) -> Iterator[None]:
        log.append(f"{name} before {operation.name}")
        try:
            yield
        except LookupError as error:
            log.append(f"{name} saw {error!r}")
            raise
        finally:
            log.append(f"{name} after {operation.name}")

    return hook


def test_span_without_hooks_is_one_shared_object(hooks: InstrumentationHooks) -> None:
    assert not hooks
    assert hooks.span("one", fact=1) is hooks.span("two")
    with hooks.span("one"):
        pass


def test_hook_with_the_highest_priority_is_entered_first_and_left_last(
    hooks: InstrumentationHooks, log: list[str]
) -> None:
    hooks.register(_build_hook(log, "low"), priority=-1)
    hooks.register(_build_hook(log, "high"), priority=5)

    with hooks.span("save"):
        log.append("work")

    assert log == [
        "high before save",
        "low before save",
        "work",
        "low after save",
        "high after save",
    ]


def test_instrumentation_hooks_select_operations_by_pattern_and_condition(
    hooks: InstrumentationHooks, log: list[str]
) -> None:
    hooks.register(_build_hook(log, "sends"), operations="*.send")
    hooks.register(
        _build_hook(log, "slow"), when=lambda operation: bool(operation.attributes["slow"])
    )

    with hooks.span("command.send", slow=False):
        pass
    with hooks.span("repository.add", slow=True):
        pass

    assert log == [
        "sends before command.send",
        "sends after command.send",
        "slow before repository.add",
        "slow after repository.add",
    ]


def test_removed_instrumentation_hook_is_not_called(
    hooks: InstrumentationHooks, log: list[str]
) -> None:
    remove = hooks.register(_build_hook(log, "hook"))
    remove()
    remove()

    with hooks.span("save"):
        pass

    assert log == []
    assert not hooks


def test_error_passes_through_instrumentation_hooks(
    hooks: InstrumentationHooks, log: list[str]
) -> None:
    hooks.register(_build_hook(log, "hook"))

    with pytest.raises(LookupError, match="in the work"), hooks.span("save"):
        raise LookupError("in the work")

    assert log[1] == "hook saw LookupError('in the work')"


def test_instrumentation_hook_cannot_swallow_an_error(hooks: InstrumentationHooks) -> None:
    @contextmanager
    def swallow_errors(operation: Operation) -> Iterator[None]:
        with suppress(LookupError):
            yield

    hooks.register(swallow_errors)

    with pytest.raises(LookupError), hooks.span("save"):
        raise LookupError


@pytest.mark.parametrize("moment", ["when called", "before", "after", "condition"])
def test_failing_instrumentation_hook_is_logged_and_does_not_affect_the_operation(
    hooks: InstrumentationHooks,
    log: list[str],
    caplog: pytest.LogCaptureFixture,
    moment: str,
) -> None:
    @contextmanager
    def fail(operation: Operation) -> Iterator[None]:
        if moment == "before":
            raise OSError("no collector")
        yield
        if moment == "after":
            raise OSError("no collector")

    def hook(operation: Operation) -> Any:
        if moment == "when called":
            raise OSError("no collector")
        return fail(operation)

    def when(operation: Operation) -> bool:
        if moment == "condition":
            raise OSError("no collector")
        return True

    hooks.register(hook, priority=1, when=when)
    hooks.register(_build_hook(log, "other"))

    with hooks.span("save"):
        log.append("work")

    assert log == ["other before save", "work", "other after save"]
    assert "instrumentation hook failed" in caplog.text
    assert "no collector" in caplog.text


async def test_spans_of_concurrent_tasks_do_not_mix(hooks: InstrumentationHooks) -> None:
    open_spans: dict[str, int] = {}

    @contextmanager
    def count_span(operation: Operation) -> Iterator[None]:
        open_spans[operation.name] = open_spans.get(operation.name, 0) + 1
        yield
        open_spans[operation.name] -= 1

    hooks.register(count_span)

    async def work(name: str) -> None:
        with hooks.span(name):
            await asyncio.sleep(0.001)
            assert open_spans[name] == 1

    await asyncio.gather(*(work(f"work-{number}") for number in range(5)))

    assert set(open_spans.values()) == {0}


def test_span_attributes_can_be_added_while_the_operation_runs(hooks: InstrumentationHooks) -> None:
    seen: list[dict[str, object]] = []

    @contextmanager
    def export_span(operation: Operation) -> Iterator[None]:
        yield
        seen.append(operation.attributes)

    hooks.register(export_span)

    with hooks.span("load", id="o-1") as operation:
        assert isinstance(operation, Operation)
        operation.attributes["rows"] = 3

    assert seen == [{"id": "o-1", "rows": 3}]


def test_context_manager_of_a_tracer_can_be_registered_as_a_hook(
    hooks: InstrumentationHooks,
) -> None:
    class Tracer:
        """Tracer with the method of OpenTelemetry tracers."""

        def __init__(self) -> None:
            self.ended: list[tuple[str, dict[str, object]]] = []

        @contextmanager
        def start_as_current_span(self, name: str, attributes: dict[str, object]) -> Iterator[str]:
            yield "span"
            self.ended.append((name, attributes))

    tracer = Tracer()
    hooks.register(lambda op: tracer.start_as_current_span(op.name, attributes=op.attributes))

    with hooks.span("save", id=1):
        pass

    assert tracer.ended == [("save", {"id": 1})]
