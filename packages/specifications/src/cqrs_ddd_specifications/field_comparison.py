"""Conditions written as comparisons of a field: ``field("total") > 100``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, NoReturn, ParamSpec, overload

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from . import operators as op
from .specification import AttributeSpecification

P = ParamSpec("P")


class _Comparison(Generic[P]):
    """Method of ``Field`` for the operator with a spelling equal to the method's name."""

    def __init__(self, build_operand: Callable[P, object]) -> None:
        self._build_operand = build_operand

    def __set_name__(self, owner: type, name: str) -> None:
        self.operator = op.OPERATORS.find(name)
        self.__doc__ = f"Return the condition: {self.operator.meaning}."

    @overload
    def __get__(self, field: None, owner: type) -> _Comparison[P]: ...

    @overload
    def __get__(self, field: Field, owner: type) -> Callable[P, AttributeSpecification]: ...

    def __get__(
        self, field: Field | None, owner: type
    ) -> _Comparison[P] | Callable[P, AttributeSpecification]:
        if field is None:
            return self

        def compare(*args: P.args, **kwargs: P.kwargs) -> AttributeSpecification:
            operand = self._build_operand(*args, **kwargs)
            return AttributeSpecification(field.path, self.operator, operand)

        return compare


def _take_nothing() -> None:
    return None


def _take_range(lowest: object, highest: object) -> object:
    return lowest, highest


def _take_values(values: Collection[object]) -> object:
    return values


def _take_text(text: str) -> object:
    return text


def _take_keys(keys: Collection[str]) -> object:
    return keys


def _take_path(path: str | Sequence[str]) -> object:
    return path


def _take_document(document: object) -> object:
    return document


class Field:
    """Field of a model; a comparison of it is a specification: ``field("total") > 100``.

    ``==`` and ``!=`` accept None, like ``is_null()`` and ``is_not_null()``. There is a method for
    each further portable operator, named by one of its spellings.

    Args:
        path: a name, or a dotted path; each comparison validates it.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, value: object) -> AttributeSpecification:  # type: ignore[override]
        return AttributeSpecification(self.path, op.EQ, value)

    def __ne__(self, value: object) -> AttributeSpecification:  # type: ignore[override]
        return AttributeSpecification(self.path, op.NE, value)

    def __lt__(self, value: object) -> AttributeSpecification:
        return AttributeSpecification(self.path, op.LT, value)

    def __le__(self, value: object) -> AttributeSpecification:
        return AttributeSpecification(self.path, op.LE, value)

    def __gt__(self, value: object) -> AttributeSpecification:
        return AttributeSpecification(self.path, op.GT, value)

    def __ge__(self, value: object) -> AttributeSpecification:
        return AttributeSpecification(self.path, op.GE, value)

    __hash__ = None  # type: ignore[assignment]

    is_in = _Comparison(_take_values)
    not_in = _Comparison(_take_values)
    between = _Comparison(_take_range)
    not_between = _Comparison(_take_range)
    is_null = _Comparison(_take_nothing)
    is_not_null = _Comparison(_take_nothing)
    is_empty = _Comparison(_take_nothing)
    is_not_empty = _Comparison(_take_nothing)

    like = _Comparison(_take_text)
    ilike = _Comparison(_take_text)
    contains = _Comparison(_take_text)
    icontains = _Comparison(_take_text)
    starts_with = _Comparison(_take_text)
    istarts_with = _Comparison(_take_text)
    ends_with = _Comparison(_take_text)
    iends_with = _Comparison(_take_text)
    not_like = _Comparison(_take_text)
    not_ilike = _Comparison(_take_text)
    not_contains = _Comparison(_take_text)
    not_icontains = _Comparison(_take_text)
    not_starts_with = _Comparison(_take_text)
    not_istarts_with = _Comparison(_take_text)
    not_ends_with = _Comparison(_take_text)
    not_iends_with = _Comparison(_take_text)

    contains_any = _Comparison(_take_values)
    contains_all = _Comparison(_take_values)

    has_key = _Comparison(_take_text)
    has_any = _Comparison(_take_keys)
    has_all = _Comparison(_take_keys)
    json_contains = _Comparison(_take_document)
    json_contained_by = _Comparison(_take_document)
    path_exists = _Comparison(_take_path)

    def __bool__(self) -> NoReturn:
        raise InvalidOperationError(
            f"field({self.path!r}) has no value to test; compare it, as in "
            f"field({self.path!r}) == True"
        )

    def __repr__(self) -> str:
        return f"field({self.path!r})"


def field(path: str) -> Field:
    """Return a field to compare: ``(field("total") > 100) & (field("status") == "open")``.

    Args:
        path: a name, or a dotted path such as ``"customer.city"``; each comparison validates it.

    Example:
        ```python
        from cqrs_ddd_specifications import field

        wanted = (field("total") > 100) & field("status").is_in(["open", "paid"])
        ```
    """
    return Field(path)
