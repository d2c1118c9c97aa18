"""Tests that a value comes back equal from each column type, or is rejected by name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import declarative_base

from cqrs_ddd_core import AggregateRoot, ConfigError
from cqrs_ddd_core.primitives.exceptions import CQRSDDDError
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_persistence_sqlalchemy.repository.value_checks import RowChecks
from cqrs_ddd_persistence_sqlalchemy.schema.column_types import ExactDecimal, UtcDateTime
from tests.persistence_sqlalchemy.column_cases import (
    CASES,
    DIALECTS,
    KINDS,
    POSTGRES_TYPES,
    TYPES,
    VALUES,
    Case,
    list_cases,
    make_entity,
    make_model,
)
from tests.persistence_sqlalchemy.conftest import SessionFactory

OWN_TYPES = (UtcDateTime, ExactDecimal)
"""Types with errors of their own, which do not know the name of the column."""
Repository = SQLAlchemyRepository[AggregateRoot[str], str]


def _hold(entity_type: type[AggregateRoot[str]], entity_id: str, value: object) -> Any:
    """Create an aggregate with a value that pydantic has not validated."""
    entity = entity_type(id=entity_id)
    entity.__dict__["value"] = value
    return entity


def _are_equal(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(map(_are_equal, one, other))
    return one == other and type(one) is type(other)


async def _find_faults(things: Repository, case: Case, factory: SessionFactory) -> list[str]:
    faults: list[str] = []
    kept = [_hold(things.entity_type, str(n), value) for n, value in enumerate(case.kept)]
    async with SQLAlchemyUnitOfWork(session_factory=factory) as uow:
        await things.add_many(kept, uow)
    found: dict[str, Any] = {each.id: each for each in await things.list_all()}
    for each in kept:
        value = found[each.id].value
        if not _are_equal(value, each.value):
            faults.append(f"{case.field} in {case.column}: {each.value!r} returns as {value!r}")
    for value in case.rejected:
        try:
            await things.add(_hold(things.entity_type, "rejected", value))
        except CQRSDDDError as error:
            if "value" not in str(error) and not isinstance(case.type, OWN_TYPES):
                faults.append(f"{case.field} in {case.column}: {value!r} raises {error}")
        else:
            faults.append(f"{case.field} in {case.column}: {value!r} is stored")
    return faults


async def _find_all_faults(engine: AsyncEngine, factory: SessionFactory) -> list[str]:
    base: Any = declarative_base()
    cases = [
        (case, make_entity(case.annotation), make_model(case.type, number, base))
        for number, case in list_cases(engine.dialect.name)
    ]
    async with engine.begin() as connection:
        await connection.run_sync(base.metadata.create_all)
    try:
        return [
            fault
            for case, entity, model in cases
            for fault in await _find_faults(Repository(entity, model, factory), case, factory)
        ]
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.drop_all)


async def test_boundary_values_of_each_column_type_come_back_equal_or_are_rejected(
    engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    faults = await _find_all_faults(engine, session_factory)

    assert not faults, "\n".join(faults)


async def test_boundary_values_show_a_repository_that_checks_no_value(
    engine: AsyncEngine, session_factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowChecks, "ensure_kept", lambda *given: None)

    faults = "\n".join(await _find_all_faults(engine, session_factory))

    everywhere = ["Decimal in Numeric(p, s)", "date in Date", "each in TypeDecorator"]
    on_postgres = ["str in String(n)", "str in CHAR(n)"]
    expected = everywhere + (on_postgres if engine.dialect.name == "postgresql" else [])
    assert [column for column in expected if column not in faults] == []


@pytest.mark.parametrize("case", [case for case in CASES if set(case.lossy_on) == set(DIALECTS)])
def test_column_that_is_lossy_everywhere_is_rejected_by_the_mapper(case: Case) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelMapper(make_entity(case.annotation), make_model(case.type, 0))

    assert case.loss in str(caught.value)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_column_that_is_lossy_on_one_database_is_rejected_there(dialect: str) -> None:
    for case in CASES:
        if len(case.lossy_on) == 1:
            mapper = ModelMapper(make_entity(case.annotation), make_model(case.type, 0))
            if dialect in case.lossy_on:
                with pytest.raises(ConfigError) as caught:
                    mapper.ensure_fits(dialect)
                assert case.loss in str(caught.value)
            else:
                mapper.ensure_fits(dialect)


def _list_combinations(dialect: str) -> Iterator[tuple[Any, Any, Any]]:
    """Yield a kind of field, its aggregate and its model where the mapper accepts the column."""
    base: Any = declarative_base()
    types = [*TYPES, *(POSTGRES_TYPES if dialect == "postgresql" else ())]
    for number, (kind, stored) in enumerate(product(KINDS, types)):
        entity: Any = make_entity(kind)
        try:
            ModelMapper(entity, make_model(stored, 0)).ensure_fits(dialect)
        except ConfigError:
            continue
        yield kind, entity, make_model(stored, number, base)


async def _find_fault(things: Repository, entity: Any) -> str | None:
    name = f"{entity.value!r} in {things.mapper.columns[-2].type!r}"
    try:
        await things.add(entity)
    except CQRSDDDError:
        return None
    except Exception as error:
        return f"{name} raises {error!r}"
    try:
        found: Any = await things.get(entity.id)
    except Exception as error:
        return f"{name} cannot be read: {error!r}"
    is_equal = found.value == entity.value or repr(found.value) == repr(entity.value)
    return None if is_equal else f"{name} returns as {found.value!r}"


@pytest.mark.full
async def test_no_combination_of_field_and_column_type_changes_a_value(
    engine: AsyncEngine, session_factory: SessionFactory
) -> None:
    combinations = list(_list_combinations(engine.dialect.name))
    metadata = combinations[0][2].metadata
    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("CREATE EXTENSION IF NOT EXISTS citext"))
        await connection.run_sync(metadata.create_all)
    faults: list[str] = []
    try:
        for kind, entity, model in combinations:
            things = Repository(entity, model, session_factory)
            for number, value in enumerate(VALUES):
                try:
                    held = entity(id=str(number), value=value)
                    entity(id=str(number), value=held.value)  # Not all of pydantic's results.
                except ValueError:
                    continue
                fault = await _find_fault(things, held)
                faults += [] if fault is None else [f"{kind}: {fault}"]
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)

    assert not faults, "\n".join(faults)
