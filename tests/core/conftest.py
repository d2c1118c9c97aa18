"""A clock, an outbox, and specifications and query options for in-memory repositories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cqrs_ddd_core.adapters.memory import FakeClock, InMemoryOutboxStorage
from cqrs_ddd_core.domain import ISpecification
from cqrs_ddd_core.testing.contracts.repository import Options, Where


@dataclass
class Equals(ISpecification[object]):
    attribute: str
    value: object

    def is_satisfied_by(self, candidate: object) -> bool:
        return bool(getattr(candidate, self.attribute) == self.value)


@dataclass
class QueryOptions:
    specification: ISpecification[Any] | None = None
    ordering: Sequence[str] = ()
    limit: int | None = None
    offset: int = 0
    distinct: bool = False

    @property
    def condition(self) -> ISpecification[Any] | None:
        return self.specification

    def with_specification(self, specification: ISpecification[Any] | None) -> QueryOptions:
        return replace(self, specification=specification)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(clock: FakeClock) -> InMemoryOutboxStorage:
    return InMemoryOutboxStorage(clock)


@pytest.fixture
def where() -> Where:
    return lambda attribute, operator, value: Equals(attribute, value)


@pytest.fixture
def options() -> Options:
    return QueryOptions
