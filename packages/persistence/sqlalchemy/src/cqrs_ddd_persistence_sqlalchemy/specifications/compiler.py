"""Compiler of specifications to WHERE clauses, with every value as a bound parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from cqrs_ddd_core import ISpecification
from cqrs_ddd_core.adapters.tenant_repository import TenantSpecification
from cqrs_ddd_core.spi.querying import AllOf, OneOf
from cqrs_ddd_specifications import Specification, coercion, exceptions
from cqrs_ddd_specifications import operators as ops
from cqrs_ddd_specifications.field_types import Kind

from . import arrays, columns, comparison, documents, text
from .dialects import Expression, NotTrue, Predicate

Names = Callable[[str], str]
Values = Callable[[str, ops.Operator, Any], Any]

_BUILDERS = {**comparison.BUILDERS, **text.MATCHES, **text.SEARCHES}


def build_sqla_filter(
    model: type[Any],
    specification: ISpecification[Any],
    *,
    names: Names | None = None,
    values: Values | None = None,
    relations: Collection[str] = (),
) -> Predicate:
    """Build the condition of a WHERE clause on a declarative class.

    Args:
        model: declarative class.
        specification: the condition.
        names: maps a path of the specification to a path of the model.
        values: maps an operand of the specification to a value of the column.
        relations: relationships that a path may pass, as dotted paths if they are nested.

    Raises:
        SpecificationError: the model does not support the specification; no SQL is built.
    """
    return _Compiler(model, names, values, frozenset(relations)).compile(specification)


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

    def compile(self, specification: ISpecification[Any]) -> Predicate:
        if isinstance(specification, Specification):
            return specification.accept(self)
        return self.opaque(specification)

    def attribute(self, attribute: str, operator: ops.Operator, value: object) -> Predicate:
        path = attribute if self._names is None else self._names(attribute)
        target = columns.resolve_path(self._model, path, self._relations)
        stored = value if self._values is None else self._values(attribute, operator, value)
        operand = coercion.coerce(operator, stored, target.type, attribute)
        is_plain = not target.relations and target.type.kind is not Kind.JSON
        if operator is ops.IS_NOT_NULL and is_plain:
            return target.column.is_not(None)
        holds = self._build(target, operator.complement or operator, operand)
        return holds if operator.complement is None else NotTrue(holds)

    def all_of(self, parts: Sequence[Predicate]) -> Predicate:
        return sa.and_(*parts) if parts else sa.true()

    def any_of(self, parts: Sequence[Predicate]) -> Predicate:
        return sa.or_(*parts) if parts else sa.false()

    def negation(self, part: Predicate) -> Predicate:
        return NotTrue(part)

    def opaque(self, specification: ISpecification[Any]) -> Predicate:
        if isinstance(specification, TenantSpecification):
            inner = specification.specification
            is_own = self.attribute("tenant_id", ops.EQ, specification.tenant_id)
            return is_own if inner is None else sa.and_(is_own, self.compile(inner))
        if isinstance(specification, AllOf):
            return self.all_of([self.compile(part) for part in specification.parts])
        if isinstance(specification, OneOf):
            return self.attribute(specification.attribute, ops.IN, specification.values)
        raise exceptions.UnsupportedOperatorError(
            f"a {type(specification).__name__} cannot be translated to SQL, since it is "
            "not built of attributes; build the same condition with SpecificationBuilder"
        )

    def _build(self, target: columns.Target, operator: ops.Operator, value: object) -> Predicate:
        found = _build_over_relations(
            self._model, target, lambda column: _build_on_column(column, target, operator, value)
        )
        if comparison.accepts_none(operator, value) and (target.relations or target.keys):
            # A path without a value satisfies operators that accept None.
            has_value = _build_over_relations(
                self._model, target, lambda column: _build_has_value(column, target)
            )
            return sa.or_(found, NotTrue(has_value))
        return found


def _build_over_relations(
    owner: object, target: columns.Target, build: Callable[[Expression], Predicate]
) -> Predicate:
    """Build a condition that at least one of the related rows satisfies."""

    def build_over(owner: object, relations: tuple[str, ...]) -> Predicate:
        if not relations:
            return build(getattr(owner, target.name) if target.relations else target.column)
        name, *rest = relations
        other = aliased(columns.find_related_class(owner, name))
        relation = getattr(owner, name).of_type(other)
        inner = build_over(other, tuple(rest))
        is_collection = columns.is_collection(owner, name)
        found: Predicate = relation.any(inner) if is_collection else relation.has(inner)
        return found

    return build_over(owner, target.relations)


def _build_has_value(column: Expression, target: columns.Target) -> Predicate:
    return documents.build_has_value(column, target.keys) if target.keys else sa.true()


def _build_on_column(
    column: Expression, target: columns.Target, operator: ops.Operator, value: object
) -> Predicate:
    if operator.sql is not None:
        custom: Predicate = operator.sql(column, value)
        return custom
    if not operator.kinds:
        raise exceptions.UnsupportedOperatorError(
            f"{operator.name} cannot be translated to SQL; pass sql= to its Operator"
        )
    kind = target.type.kind
    if kind is Kind.JSON:
        return documents.build_document_condition(column, operator, target.keys, value)
    if operator is ops.IS_EMPTY and kind is Kind.TEXT:
        return sa.or_(column.is_(None), column == "")
    if kind is Kind.ARRAY and operator in arrays.BUILDERS:
        return arrays.BUILDERS[operator](column, value, target.type)
    return _BUILDERS[operator](column, value, target.type)
