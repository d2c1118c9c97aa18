"""From a tree to one Python function, compiled once for a class of objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from ..coercion import coerced
from ..exceptions import UnsupportedOperatorError
from ..field_types import FieldType, Kind, Path, path_of
from ..json_forms import stored_form
from ..operators import Operator
from . import comparison, documents, search, text
from .check import Check, calling_unless_none

if TYPE_CHECKING:
    from cqrs_ddd_core.domain.specification import ISpecification

    from ..specification import Specification

Predicate = Callable[[Any], bool]

_LONGEST_KEPT = 4_000
"""Characters; what strangers write at length is compiled each time, and takes no memory."""

_CHECKS = {**comparison.CHECKS, **text.CHECKS, **documents.CHECKS, **search.CHECKS}


def predicate_of(specification: Specification, candidates: type) -> Predicate:
    """Raises ``SpecificationError`` for what this class of objects cannot be asked."""
    compiler = _Compiler(candidates)
    code = specification.accept(compiler)
    return _function("o", code, compiler.bound)


class _Compiler:
    """Writes code that names nothing but attributes which the class declares."""

    def __init__(self, candidates: type) -> None:
        self._candidates = candidates
        self.bound: list[Any] = []

    def attribute(self, attribute: str, operator: Operator, value: Any) -> str:
        path = path_of(self._candidates, attribute)
        given = coerced(operator, value, path.type, attribute)
        check = _check(operator.complement or operator, given, path.type)
        code = f"({self._reading(path, check)})"
        return code if operator.complement is None else f"(not {code})"

    def all_of(self, parts: Sequence[str]) -> str:
        return f"({' and '.join(parts)})" if parts else "True"

    def any_of(self, parts: Sequence[str]) -> str:
        return f"({' or '.join(parts)})" if parts else "False"

    def negation(self, part: str) -> str:
        return f"(not {part})"

    def foreign(self, specification: ISpecification[Any]) -> str:
        return f"{self._bind(specification.is_satisfied_by)}(o)"

    def _reading(self, path: Path, check: Check) -> str:
        if len(path.steps) == 1 and not path.keys and path.type.kind is not Kind.JSON:
            name = path.steps[0].name
            if name.isidentifier() and not iskeyword(name):
                return self._inlined(f"o.{name}", check)
        if not path.steps and len(path.keys) == 1:
            return self._inlined(f"o.get({self._bind(path.keys[0])})", check)
        if not path.keys and not any(step.is_many for step in path.steps):
            return self._inlined(f"{self._bind(_reader(path))}(o)", check)
        test = _test(check)
        reach = reaching(path)
        return f"{self._bind(lambda candidate: any(map(test, reach(candidate))))}(o)"

    def _inlined(self, reading: str, check: Check) -> str:
        return _inlined(reading, check, self._bind(check.value))

    def _bind(self, value: Any) -> str:
        self.bound.append(value)
        return f"v{len(self.bound) - 1}"


def value_test(operator: Operator, value: Any, field_type: FieldType) -> Predicate:
    """The condition on a value, as it was coerced, instead of on an object."""
    return _test(_check(operator, value, field_type))


def reaching(path: Path) -> Callable[[Any], list[Any]]:
    """All values that a path leads to; one None where it leads to nothing."""
    steps, keys = path.steps, path.keys

    def reach(candidate: Any) -> list[Any]:
        values = [candidate]
        for step in steps:
            found = [getattr(value, step.name) for value in values if value is not None]
            values = [each for some in found for each in some or ()] if step.is_many else found
        if steps and path.type.kind is Kind.JSON:
            values = [stored_form(value) for value in values]
        for key in keys:
            values = documents.under_key(values, key)
        return values or [None]

    return reach


def _reader(path: Path) -> Callable[[Any], Any]:
    reach = reaching(path)
    return lambda candidate: reach(candidate)[0]


def _test(check: Check) -> Predicate:
    return _function("o", _inlined("o", check, "v0"), [check.value])


def _check(operator: Operator, value: Any, field_type: FieldType) -> Check:
    if operator.memory is not None:
        decide = operator.memory
        return calling_unless_none(lambda actual: decide(actual, value))
    if operator not in _CHECKS:
        raise UnsupportedOperatorError(
            f"{operator.name} is not evaluated in memory; it needs a database that has it"
        )
    return _CHECKS[operator](value, field_type)


def _inlined(reading: str, check: Check, value: str) -> str:
    if "{again}" in check.code:
        reading = f"(x := {reading})"
    return check.code.format(x=reading, again="x", v=value)


def _function(argument: str, code: str, bound: Sequence[Any]) -> Predicate:
    names = ", ".join(f"v{number}" for number in range(len(bound)))
    source = f"lambda {names}: lambda {argument}: {code}"
    make = _factory if len(source) <= _LONGEST_KEPT else _factory.__wrapped__
    predicate: Predicate = make(source)(*bound)
    return predicate


@lru_cache(maxsize=1024)
def _factory(source: str) -> Callable[..., Any]:
    """The same shape is compiled once, whatever its values are."""
    names = {"__builtins__": {"isinstance": isinstance, "str": str}}
    factory: Callable[..., Any] = eval(source, names)  # noqa: S307 - see _Compiler
    return factory
