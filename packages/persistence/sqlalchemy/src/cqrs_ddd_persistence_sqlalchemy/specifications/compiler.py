"""From a tree to a WHERE clause, with every value bound."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.orm import aliased

from cqrs_ddd_core.adapters.tenant_repository import TenantSpecification
from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.spi.querying import AllOf, OneOf
from cqrs_ddd_specifications.coercion import coerce
from cqrs_ddd_specifications.exceptions import UnsupportedOperatorError
from cqrs_ddd_specifications.field_types import Kind
from cqrs_ddd_specifications.operators import (
    EQ,
    IN,
    IS_EMPTY,
    IS_NOT_NULL,
    Operator,
)
from cqrs_ddd_specifications.specification import Specification

from . import arrays, comparison, search, text
from .columns import Target, is_list, related, target_of
from .dialects import NotTrue
from .documents import document_condition, reaches

Names = Callable[[str], str]
Values = Callable[[str, Operator, Any], Any]

_CONDITIONS = {**comparison.CONDITIONS, **text.CONDITIONS, **search.CONDITIONS}


def build_sqla_filter(
    model: type[Any],
    specification: ISpecification[Any],
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> ColumnElement[bool]:
    """The condition of a WHERE clause on a declarative class.

    Args:
        names: from a path that the specification may use to the path of the model.
        values: from what the specification asks for to what the column holds.
        relations: that a path may pass, dotted where one follows another.

    Raises ``SpecificationError`` before there is any SQL.
    """
    return _Compiler(model, names, values, frozenset(relations)).accepted(specification)


class _Compiler:
    def __init__(
        self,
        model: type[Any],
        names: Names | None,
        values: Values | None,
        relations: frozenset[str],
    ) -> None:
        self._model: type = model
        self._names = names
        self._values = values
        self._relations = relations

    def attribute(self, attribute: str, operator: Operator, value: Any) -> ColumnElement[bool]:
        path = attribute if self._names is None else self._names(attribute)
        target = target_of(self._model, path, self._relations)
        kept = value if self._values is None else self._values(attribute, operator, value)
        given = coerce(operator, kept, target.type, attribute)
        if operator is IS_NOT_NULL and not target.relations and target.type.kind is not Kind.JSON:
            return target.column.is_not(None)
        holds = self._holds(target, operator.complement or operator, given)
        return holds if operator.complement is None else NotTrue(holds)

    def all_of(self, parts: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
        return and_(*parts) if parts else true()

    def any_of(self, parts: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
        return or_(*parts) if parts else false()

    def negation(self, part: ColumnElement[bool]) -> ColumnElement[bool]:
        return NotTrue(part)

    def opaque(self, specification: ISpecification[Any]) -> ColumnElement[bool]:
        if isinstance(specification, TenantSpecification):
            inner = specification.specification
            mine = self.attribute("tenant_id", EQ, specification.tenant_id)
            return mine if inner is None else and_(mine, self.accepted(inner))
        if isinstance(specification, AllOf):
            return self.all_of([self.accepted(part) for part in specification.parts])
        if isinstance(specification, OneOf):
            return self.attribute(specification.attribute, IN, specification.values)
        raise UnsupportedOperatorError(
            f"{specification!r} is not made of attributes, so there is no SQL for it; write what "
            "it asks with SpecificationBuilder"
        )

    def accepted(self, specification: ISpecification[Any]) -> ColumnElement[bool]:
        if isinstance(specification, Specification):
            return specification.accept(self)
        return self.opaque(specification)

    def _holds(self, target: Target, operator: Operator, value: Any) -> ColumnElement[bool]:
        def condition(column: ColumnElement[Any]) -> ColumnElement[bool]:
            return _condition(column, target, operator, value)

        found = _within(self._model, target, condition)
        if comparison.accepts_none(operator, value) and (target.relations or target.keys):
            # What leads nowhere leads to None.
            return or_(found, NotTrue(_within(self._model, target, _reached(target))))
        return found


def _within(
    owner: Any, target: Target, condition: Callable[[ColumnElement[Any]], ColumnElement[bool]]
) -> ColumnElement[bool]:
    """Whether the condition holds for the column of one of the related rows."""

    def over(owner: Any, relations: tuple[str, ...]) -> ColumnElement[bool]:
        if not relations:
            return condition(getattr(owner, target.name) if target.relations else target.column)
        name, *rest = relations
        other = aliased(related(owner, name))
        relation = getattr(owner, name).of_type(other)
        inner = over(other, tuple(rest))
        found: ColumnElement[bool] = (
            relation.any(inner) if is_list(owner, name) else relation.has(inner)
        )
        return found

    return over(owner, target.relations)


def _reached(target: Target) -> Callable[[ColumnElement[Any]], ColumnElement[bool]]:
    return lambda column: reaches(column, target.keys) if target.keys else true()


def _condition(
    column: ColumnElement[Any], target: Target, operator: Operator, value: Any
) -> ColumnElement[bool]:
    if operator.sql is not None:
        custom: ColumnElement[bool] = operator.sql(column, value)
        return custom
    if not operator.kinds:
        raise UnsupportedOperatorError(f"{operator.name} has no SQL; give its Operator sql=")
    kind = target.type.kind
    if kind is Kind.JSON:
        return document_condition(column, operator, target.keys, value)
    if operator is IS_EMPTY and kind is Kind.TEXT:
        return or_(column.is_(None), column == "")
    if kind is Kind.ARRAY and operator in arrays.CONDITIONS:
        return arrays.CONDITIONS[operator](column, value, target.type)
    return _CONDITIONS[operator](column, value, target.type)
