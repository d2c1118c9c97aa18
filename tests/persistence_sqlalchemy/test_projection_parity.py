"""Tests that a search finds the same documents in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, not_

from cqrs_ddd_advanced_core.adapters.memory import InMemoryProjectionStore
from cqrs_ddd_advanced_core.ports.projections import IProjectionStore
from cqrs_ddd_advanced_core.testing.contracts.documents import new_collection
from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.advanced import SQLAlchemyProjectionStore
from cqrs_ddd_persistence_sqlalchemy.specifications import compiler
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions, Specification
from cqrs_ddd_specifications.field_types import FieldType, type_of
from cqrs_ddd_specifications.operators import OPERATORS
from cqrs_ddd_specifications.testing.operands import Operands
from cqrs_ddd_specifications.testing.values import Values
from tests.faults.sizes import SEARCH_SEEDS
from tests.persistence_sqlalchemy.conftest import SessionFactory

SEEDS = range(SEARCH_SEEDS)
DOCUMENTS = 30
SEARCHES = 60

FIELDS: dict[str, Any] = {
    "name": str,
    "count": int,
    "ratio": float,
    "active": bool,
    "price": Decimal,
    "made_at": datetime,
    "day": date,
    "key": UUID,
    "data": dict,
    "parts": list,
}
ORDERED = [name for name, kind in FIELDS.items() if kind not in (dict, list)]


class Searches:
    """Generator of documents, specifications and pages from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.values = Values(self.random)
        self.operands = Operands(self.values)
        self.documents = {
            self._doc_id(number): {**self._document(), "number": number}
            for number in range(DOCUMENTS)
        }

    def specification(self, depth: int = 0) -> Specification:
        if depth < 2 and self.random.random() < 0.4:
            left, right = self.specification(depth + 1), self.specification(depth + 1)
            return self.random.choice((left & right, left | right, ~left))
        name = self.random.choice([*FIELDS, "doc_id"])
        value = self.random.choice([doc.get(name) for doc in self.documents.values()])
        field_type = type_of(FIELDS.get(name, str))
        if name == "doc_id":
            value = self.random.choice(list(self.documents))
        elif name == "data" and self.random.random() < 0.7:
            key = self.values.path_key()
            name, value = f"{name}.{key}", (value or {}).get(key)
        return self._condition(name, field_type, value)

    def page(self) -> QueryOptions:
        names = self.random.sample([*ORDERED, "doc_id"], k=self.random.choice((0, 1, 1, 2)))
        ordering = [f"{self.random.choice(('', '-'))}{name}" for name in names]
        # A page needs an order, a limit or an offset.
        limit = self.random.choice((0, 3, 50, None) if names else (0, 3, 50))
        return (
            QueryOptions(self.specification())
            .with_ordering(*ordering)
            .with_pagination(limit=limit, offset=self.random.choice((0, 1, 5)))
        )

    def _condition(self, name: str, field_type: FieldType, value: Any) -> Specification:
        kinds = [each for each in OPERATORS if each.portable and field_type.kind in each.kinds]
        operator = self.random.choice(kinds)
        return AttributeSpecification(
            name, operator, self.operands.generate(operator, field_type, value)
        )

    def _doc_id(self, number: int) -> str:
        return f"{self.values.text()}{number}"

    def _document(self) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, kind in FIELDS.items():
            chance = self.random.random()
            if chance < 0.1:
                value[name] = None
            elif chance < 0.9:
                value[name] = self._generate(kind)
        return value

    def _generate(self, kind: type[Any]) -> Any:
        few = range(self.random.randrange(4))
        if kind is dict:
            return {self.values.key(): self.values.document(1) for _ in few}
        if kind is list:
            return [self.values.document(1) for _ in few]
        return self.values.generate(type_of(kind), is_stored=True)


@pytest.fixture
def store(session_factory: SessionFactory, tables: Tables) -> SQLAlchemyProjectionStore:
    return SQLAlchemyProjectionStore(session_factory, tables=tables)


async def find_difference(store: IProjectionStore, seed: int) -> str | None:
    """Return the first search of the seed that finds other documents than in memory."""
    searches, memory, collection = Searches(seed), InMemoryProjectionStore(), new_collection()
    for each in (memory, store):
        await each.ensure_collection(collection, FIELDS)
        await each.upsert_batch(collection, searches.documents)
    ids = list(searches.documents)
    if await store.get_batch(collection, ids) != await memory.get_batch(collection, ids):
        return f"seed {seed}: the documents differ"
    for _ in range(SEARCHES):
        page = searches.page()
        plain = page.specification
        assert plain is not None
        here, there = [await (await each.find(collection, page)) for each in (memory, store)]
        if here != there:
            return f"seed {seed}: {page}: {len(here)} in memory, {len(there)} in the database"
        unordered = [await (await each.find(collection, plain)) for each in (memory, store)]
        here, there = [sorted(found, key=lambda doc: doc["number"]) for found in unordered]
        if here != there:
            return f"seed {seed}: {plain}: {len(here)} in memory, {len(there)} in the database"
    return None


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
async def test_random_searches_find_the_same_documents_in_memory_and_in_the_database(
    seed: int, store: SQLAlchemyProjectionStore
) -> None:
    assert await find_difference(store, seed) is None


def _not(part: ColumnElement[bool]) -> ColumnElement[bool]:
    return not_(part)


async def test_parity_check_catches_a_negation_that_finds_other_documents_than_memory(
    store: SQLAlchemyProjectionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "NotTrue", _not)

    found = [await find_difference(store, seed) for seed in range(3)]

    assert any(found)
