"""Condition, order, page and columns of a SELECT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from cqrs_ddd_core import IQueryOptions, ISpecification
from cqrs_ddd_core.domain.specification import T_contra
from cqrs_ddd_core.spi.checks import ensure_whole_objects
from cqrs_ddd_core.spi.querying import get_specification
from cqrs_ddd_specifications import QueryOptions, exceptions, keyset, selection
from cqrs_ddd_specifications.field_types import Kind

from .columns import Target, get_mapper, resolve_path
from .compiler import Names, Values, build_sqla_filter
from .dialects import Expression, collate_text, ensure_faithful

Criteria = ISpecification[T_contra] | IQueryOptions[T_contra]
"""Specification, or query options."""


def apply_criteria(
    rows: sa.Select[Any],
    model: type[Any],
    criteria: Criteria,
    key: Expression,
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> sa.Select[Any]:
    """Return the statement with the condition, and with the order and page of query options.

    Rows that are equal in the order are sorted by ``key``, so that each row is on exactly one page.

    Args:
        rows: statement that selects the rows.
        model: declarative class.
        criteria: a specification, or query options.
        key: unique column.
        names: maps a path of the specification to a path of the model.
        values: maps an operand of the specification to a value of the column.
        relations: relationships that a path may pass.

    Raises:
        SpecificationError: the model does not support the criteria; no SQL is built.
    """
    if isinstance(criteria, ISpecification):
        condition = build_sqla_filter(
            model, criteria, names=names, values=values, relations=relations
        )
        return rows.where(condition)
    ensure_whole_objects(criteria)
    page = apply_query_options(
        rows, model, criteria, names=names, values=values, relations=relations
    )
    if not (criteria.ordering or criteria.limit is not None or criteria.offset):
        return page
    if any(
        _resolve(model, name.removeprefix("-"), names).column is key for name in criteria.ordering
    ):
        return page
    is_text = isinstance(key.type, sa.String)
    return page.order_by(collate_text(key, is_ordered=True) if is_text else key)


def take_rows(page: sa.Select[Any], criteria: Criteria, count: int) -> sa.Select[Any]:
    """Return the statement of ``apply_criteria`` for the first ``count`` rows of the page."""
    limit = criteria.limit if isinstance(criteria, IQueryOptions) else None
    return page.limit(count if limit is None else min(count, limit))


def count_rows(
    rows: sa.Select[Any],
    model: type[Any],
    criteria: Criteria,
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> sa.Select[Any]:
    """Return a statement that counts the rows of all pages."""
    specification = get_specification(criteria)
    if specification is not None:
        rows = rows.where(
            build_sqla_filter(model, specification, names=names, values=values, relations=relations)
        )
    return sa.select(sa.func.count()).select_from(rows.subquery())


def apply_query_options(
    stmt: sa.Select[Any],
    model: type[Any],
    options: IQueryOptions[Any],
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> sa.Select[Any]:
    """Return the statement with condition, order and page, and with the selected fields only.

    Args:
        stmt: statement that selects the rows.
        model: declarative class.
        options: the condition, the order, the page and the fields.
        names: maps a path of the specification to a path of the model.
        values: maps an operand of the specification to a value of the column.
        relations: relationships that a path may pass.

    Raises:
        SpecificationError: the model does not support the options; no SQL is built.
    """
    order = {name: _resolve(model, name.removeprefix("-"), names) for name in options.ordering}
    never_null = _find_never_null(stmt, model, order)
    condition = options.condition
    if isinstance(options, QueryOptions):
        condition = options.build_condition(never_none=keyset.list_attributes(never_null))
    if condition is not None:
        stmt = stmt.where(
            build_sqla_filter(model, condition, names=names, values=values, relations=relations)
        )
    selection.ensure_distinct_selects(options)
    for name, target in order.items():
        kind = target.type.kind
        selection.ensure_ordered(name, kind, is_single=kind is not Kind.ARRAY)
    columns: dict[str, Expression] = {name: target.column for name, target in order.items()}
    if isinstance(options, QueryOptions) and options.select_fields:
        fields = options.select_fields
        stmt = stmt.with_only_columns(*(_select(model, f, names).label(f) for f in fields))
        if options.distinct:
            rows = stmt.distinct().subquery()
            stmt = sa.select(*rows.c)
            columns = {name: rows.c[name.removeprefix("-")] for name in order}
    stmt = stmt.order_by(
        *(
            _direct(columns[name], target.type.kind, name, may_be_null=name not in never_null)
            for name, target in order.items()
        )
    )
    if options.limit is not None:
        stmt = stmt.limit(options.limit)
    return stmt.offset(options.offset) if options.offset else stmt


def _find_never_null(
    stmt: sa.Select[Any], model: type[Any], order: Mapping[str, Target]
) -> Collection[str]:
    """Return the names of an order by columns that are NOT NULL."""
    if list(stmt.get_final_froms()) != [get_mapper(model).local_table]:
        return ()  # An outer join may add NULLs.
    return [name for name, each in order.items() if not each.keys and not each.column.nullable]


def _direct(column: Expression, kind: Kind, name: str, *, may_be_null: bool) -> Expression:
    is_text = kind is Kind.TEXT
    value = collate_text(column, is_ordered=True) if is_text else ensure_faithful(column)
    is_descending = name.startswith("-")
    directed = value.desc() if is_descending else value.asc()
    if not may_be_null:  # SQLite would not read the order from an index.
        return directed
    # None comes after every value.
    return directed.nulls_first() if is_descending else directed.nulls_last()


def _select(model: type[Any], name: str, names: Names | None) -> Expression:
    target = _resolve(model, name, names)
    if target.keys:
        raise exceptions.UnsupportedOperatorError(
            f"cannot select {name}, a part of a JSON column; select the whole column"
        )
    return target.column


def _resolve(model: type[Any], name: str, names: Names | None) -> Target:
    owner: type = model
    return resolve_path(owner, name if names is None else names(name), frozenset())
