"""Order, page and columns of a SELECT."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, String, select

from cqrs_ddd_core.domain.specification import IQueryOptions
from cqrs_ddd_specifications import QueryOptions
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError
from cqrs_ddd_specifications.field_types import Kind
from cqrs_ddd_specifications.selection import ensure_distinct_selects, ensure_ordered

from .columns import Target, target_of
from .compiler import Names, Values, build_sqla_filter
from .dialects import faithful, text_of


def apply_query_options(
    stmt: Select[Any],
    model: type[Any],
    options: IQueryOptions[Any],
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> Select[Any]:
    """The statement with condition, order, page, and the selected fields alone.

    Raises ``SpecificationError`` before there is any SQL.
    """
    if options.condition is not None:
        stmt = stmt.where(
            build_sqla_filter(
                model, options.condition, names=names, values=values, relations=relations
            )
        )
    ensure_distinct_selects(options)
    ordered = {name: _ordered(model, name, names) for name in options.ordering}
    columns: dict[str, ColumnElement[Any]] = {
        name: target.column for name, target in ordered.items()
    }
    if isinstance(options, QueryOptions) and options.select_fields:
        selected = [_selected(model, name, names).label(name) for name in options.select_fields]
        stmt = stmt.with_only_columns(*selected)
        if options.distinct:
            rows = stmt.distinct().subquery()
            stmt = select(*rows.c)
            columns = {name: rows.c[name.removeprefix("-")] for name in ordered}
    stmt = stmt.order_by(
        *(_directed(columns[name], target.type.kind, name) for name, target in ordered.items())
    )
    if options.limit is not None:
        stmt = stmt.limit(options.limit)
    if options.offset:
        stmt = stmt.offset(options.offset)
    return stmt


def in_order(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as a last key of an order, by which equals have one place in every world."""
    return text_of(column, is_ordered=True) if isinstance(column.type, String) else column


def _ordered(model: type[Any], name: str, names: Names | None) -> Target:
    target = _target(model, name.removeprefix("-"), names)
    kind = target.type.kind
    ensure_ordered(name, kind, is_single=kind is not Kind.ARRAY)
    return target


def _directed(column: ColumnElement[Any], kind: Kind, name: str) -> ColumnElement[Any]:
    value = text_of(column, is_ordered=True) if kind is Kind.TEXT else faithful(column)
    # None comes after every value.
    return value.desc().nulls_first() if name.startswith("-") else value.asc().nulls_last()


def _selected(model: type[Any], name: str, names: Names | None) -> ColumnElement[Any]:
    target = _target(model, name, names)
    if target.keys:
        raise UnsupportedOperatorError(
            f"cannot select {name}, a part of JSON; select the whole of it"
        )
    return target.column


def _target(model: type[Any], name: str, names: Names | None) -> Target:
    owner: type = model
    return target_of(owner, name if names is None else names(name), frozenset())
