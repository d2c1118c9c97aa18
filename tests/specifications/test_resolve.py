from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_specifications import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    resolve,
)
from cqrs_ddd_specifications.operators import EQ, NE


@dataclass
class Order:
    status: str
    total: int


class IsLarge:
    def is_satisfied_by(self, candidate: Any) -> bool:
        return bool(candidate.total > 100)


OPEN = AttributeSpecification("status", "in", ["new", "paid"])


def is_open(condition: AttributeSpecification) -> ISpecification[Any] | None:
    """Replace ``is_open`` by two values of the status."""
    if condition.attribute != "is_open":
        return None
    wanted = condition.value if condition.operator is EQ else not condition.value
    return OPEN if wanted else ~OPEN


def is_large(condition: AttributeSpecification) -> ISpecification[Any] | None:
    return IsLarge() if condition.attribute == "is_large" else None


def test_resolve_replaces_a_condition_at_every_level() -> None:
    asked = AttributeSpecification("is_open", "=", True)
    cheap = AttributeSpecification("total", "<", 10)

    resolved = resolve(
        OrSpecification([NotSpecification(asked), AndSpecification([asked, cheap])]), is_open
    )

    assert resolved == OrSpecification([NotSpecification(OPEN), AndSpecification([OPEN, cheap])])


def test_resolve_passes_the_operator_to_its_hooks() -> None:
    assert resolve(AttributeSpecification("is_open", NE, True), is_open) == NotSpecification(OPEN)


def test_resolve_keeps_a_condition_without_a_replacement() -> None:
    asked = AttributeSpecification("status", "between", ["a", "b"]) & ~OPEN

    assert resolve(asked, is_open, is_large) == asked


def test_resolve_uses_the_first_replacement() -> None:
    asked = AttributeSpecification("is_open", "=", True)

    assert resolve(asked, is_large, is_open, lambda _: AndSpecification()) == OPEN


def test_resolve_does_not_resolve_a_replacement_again() -> None:
    def again(condition: AttributeSpecification) -> ISpecification[Any]:
        return AttributeSpecification(f"{condition.attribute}.x", "=", 1)

    assert resolve(AttributeSpecification("a", "=", 1), again) == (
        AttributeSpecification("a.x", "=", 1)
    )


def test_resolve_accepts_an_opaque_specification_as_replacement() -> None:
    resolved = resolve(AttributeSpecification("is_large", "=", True), is_large)

    assert resolved.is_satisfied_by(Order("new", 200))
    assert not resolved.is_satisfied_by(Order("new", 20))


def test_resolve_keeps_opaque_specifications_in_the_tree() -> None:
    opaque = IsLarge()

    assert resolve(OPEN & opaque, is_open) == AndSpecification([OPEN, opaque])
