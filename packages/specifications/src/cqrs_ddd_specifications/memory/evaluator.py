"""Compilation of a specification to one Python function for a class of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from keyword import iskeyword

from ..coercion import coerce
from ..exceptions import UnsupportedOperatorError
from ..field_types import FieldType, Kind, Path, path_of
from ..json_values import to_field_json
from ..operators import Operator
from ..visitor import AnySpecification
from . import comparison, documents, text

MAX_CACHED = 4_000
"""Characters of source code; longer code, which large client queries cause, is not cached."""

_CHECKS = {**comparison.CHECKS, **text.CHECKS, **documents.CHECKS}


class PredicateCompiler:
    """Visitor that writes Python code, with declared attributes of a class as the only names."""

    def __init__(self, candidates: type) -> None:
        self._candidates = candidates
        self._bound: list[object] = []

    def compile(self, code: str) -> comparison.Predicate:
        """Return a function for the code, with the values that the visitor has bound."""
        return _compile(code, self._bound)

    def attribute(self, attribute: str, operator: Operator, value: object) -> str:
        """Return the code of one condition, after coercing the operand to the type of the field."""
        path = path_of(self._candidates, attribute)
        operand = coerce(operator, value, path.type, attribute)
        check = _make_check(operator.complement or operator, operand, path.type)
        code = f"({self._read(path, check)})"
        return code if operator.complement is None else f"(not {code})"

    def all_of(self, parts: Sequence[str]) -> str:
        """Return the code of a conjunction."""
        return f"({' and '.join(parts)})" if parts else "True"

    def any_of(self, parts: Sequence[str]) -> str:
        """Return the code of a disjunction."""
        return f"({' or '.join(parts)})" if parts else "False"

    def negation(self, part: str) -> str:
        """Return the code of a negation."""
        return f"(not {part})"

    def opaque(self, specification: AnySpecification) -> str:
        """Return code that calls ``is_satisfied_by`` of a specification of another package."""
        return f"{self._bind(specification.is_satisfied_by)}(o)"

    def _read(self, path: Path, check: comparison.Check) -> str:
        if len(path.steps) == 1 and not path.keys and path.type.kind is not Kind.JSON:
            name = path.steps[0].name
            if name.isidentifier() and not iskeyword(name):
                return self._inline(f"o.{name}", check)
        if not path.steps and len(path.keys) == 1:
            return self._inline(f"o.get({self._bind(path.keys[0])})", check)
        extract = extract_values(path)
        if not path.keys and not any(step.is_many for step in path.steps):
            return self._inline(f"{self._bind(lambda candidate: extract(candidate)[0])}(o)", check)
        test = _compile_check(check)
        return f"{self._bind(lambda candidate: any(map(test, extract(candidate))))}(o)"

    def _inline(self, reading: str, check: comparison.Check) -> str:
        return _inline(reading, check, self._bind(check.value))

    def _bind(self, value: object) -> str:
        self._bound.append(value)
        return f"v{len(self._bound) - 1}"


def compile_value_test(
    operator: Operator, operand: object, field_type: FieldType
) -> comparison.Predicate:
    """Compile a condition on a value instead of an object; the operand must already be coerced."""
    return _compile_check(_make_check(operator, operand, field_type))


def extract_values(path: Path) -> Callable[[object], list[object]]:
    """Return a function that lists all values at a path, or a single None if there are none."""
    steps, keys = path.steps, path.keys

    def extract(candidate: object) -> list[object]:
        values = [candidate]
        for step in steps:
            found = [getattr(value, step.name) for value in values if value is not None]
            values = [each for some in found for each in some or ()] if step.is_many else found
        if steps and path.type.kind is Kind.JSON:
            values = [to_field_json(value) for value in values]
        return (documents.extract_keys(values, keys) if keys else values) or [None]

    return extract


def read_attributes(item: object, attributes: Iterable[str]) -> tuple[object, ...]:
    """Return the first value at each path."""
    owner: type = type(item)
    return tuple(extract_values(path_of(owner, each))(item)[0] for each in attributes)


def _make_check(operator: Operator, operand: object, field_type: FieldType) -> comparison.Check:
    if operator.memory is not None:
        decide = operator.memory
        return comparison.Check.call_unless_none(lambda actual: decide(actual, operand))
    if operator not in _CHECKS:
        raise UnsupportedOperatorError(
            f"{operator.name} cannot be evaluated in memory; use a database that supports it"
        )
    return _CHECKS[operator](operand, field_type)


def _compile_check(check: comparison.Check) -> comparison.Predicate:
    return _compile(_inline("o", check, "v0"), [check.value])


def _inline(reading: str, check: comparison.Check, value: str) -> str:
    if "{again}" in check.code:
        reading = f"(x := {reading})"
    return check.code.format(x=reading, again="x", v=value)


def _compile(code: str, bound: Sequence[object]) -> comparison.Predicate:
    names = ", ".join(f"v{number}" for number in range(len(bound)))
    source = f"lambda {names}: lambda o: {code}"
    evaluate = _evaluate if len(source) <= MAX_CACHED else _evaluate.__wrapped__
    return evaluate(source)(*bound)


@lru_cache(maxsize=1024)
def _evaluate(source: str) -> Callable[..., comparison.Predicate]:
    """Evaluate the source once for all specifications that differ in values only."""
    names = {"__builtins__": {"isinstance": isinstance, "str": str}}
    factory: Callable[..., comparison.Predicate] = eval(source, names)  # noqa: S307 - see PredicateCompiler
    return factory
