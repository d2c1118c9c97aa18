"""Tests that the example in each docstring runs as printed."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from tests.architecture.public_api import SNAPSHOT
from tests.docs.blocks import remove_events_of, without_events_of_tests

FIRST = {
    "cqrs_ddd_core": [
        *("AggregateRoot", "Application", "Command", "DomainEvent", "HandlerRegistry"),
        *("InMemoryBackend", "InboxConsumer", "Mediator", "MultitenantMixin", "OutboxRelay"),
        *("Query", "Retention", "RoutingPublisher", "TimeoutMiddleware", "ValueObject"),
    ],
    "cqrs_ddd_advanced_core": [
        *("ConflictRetryMiddleware", "EventSourcedRepository", "EventUpcaster"),
        *("ProjectionHandler", "Projections"),
    ],
    "cqrs_ddd_persistence_sqlalchemy": ["SQLAlchemyBackend", "VersionMixin"],
    "cqrs_ddd_redis": [
        *("FifoRedisLockStrategy", "RedisCacheService", "RedisQueueSignal", "RedlockLockStrategy"),
    ],
    "cqrs_ddd_specifications": [
        *("AttributeSpecification", "QueryOptions", "SpecificationBuilder"),
        *("SpecificationFactory", "field"),
    ],
}
"""Names that a user meets first."""


def _find_examples() -> dict[str, str]:
    """Return the code of each example by the full name of its class or function."""
    found: dict[str, str] = {}
    values = set()
    for full in SNAPSHOT.read_text("utf-8").split():
        module, _, name = full.rpartition(".")
        value = getattr(import_module(module), name)
        doc = value.__doc__ if inspect.isclass(value) or inspect.isfunction(value) else None
        _, marker, code = (doc or "").partition("Example:\n        ```python\n")
        if marker and id(value) not in values:
            values.add(id(value))
            found[full] = textwrap.dedent(code.partition("        ```")[0])
    return found


EXAMPLES = _find_examples()


def test_every_class_that_a_user_meets_first_has_an_example() -> None:
    first = {f"{package}.{name}" for package, names in FIRST.items() for name in names}

    assert first - set(EXAMPLES) == set()


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """Module of the example, in a program without the events of other tests."""
    module = ModuleType("example of a docstring")
    sys.modules[module.__name__] = module
    with without_events_of_tests():
        yield module
    del sys.modules[module.__name__]
    remove_events_of(module)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example_of_a_docstring_runs_as_printed(
    name: str,
    module: ModuleType,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = EXAMPLES[name]
    if "REDIS_URL" in code:
        monkeypatch.setenv("REDIS_URL", request.getfixturevalue("redis_url"))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(code, f"example of {name}", "exec", flags=flags, dont_inherit=True)

    outcome: Any = eval(compiled, vars(module))  # noqa: S307 - running the example is the purpose
    if inspect.iscoroutine(outcome):
        await outcome
