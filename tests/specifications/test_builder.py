from __future__ import annotations

from typing import Any

import pytest

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_specifications import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    SpecificationBuilder,
)

OPEN = AttributeSpecification("status", "=", "open")
LARGE = AttributeSpecification("total", ">", 100)
VIP = AttributeSpecification("vip", "=", True)


class IsLarge:
    def is_satisfied_by(self, candidate: Any) -> bool:
        return bool(candidate["total"] > 100)


def builder() -> SpecificationBuilder:
    return SpecificationBuilder()


def test_conditions_of_a_specification_builder_are_joined_by_and() -> None:
    built = builder().where("status", "=", "open").where("total", ">", 100).build()

    assert built == AndSpecification([OPEN, LARGE])


def test_builder_with_a_single_condition_returns_that_condition() -> None:
    assert builder().where("status", "=", "open").build() == OPEN


def test_builder_without_conditions_is_always_satisfied() -> None:
    assert builder().build().is_satisfied_by({})


def test_groups_of_a_specification_builder_can_be_nested() -> None:
    built = (
        builder()
        .where("status", "=", "open")
        .or_group()
        .where("total", ">", 100)
        .and_group()
        .where("vip", "=", True)
        .not_group()
        .where("total", "<", 5)
        .end_group()
        .end_group()
        .end_group()
        .build()
    )

    small = NotSpecification(AttributeSpecification("total", "<", 5))
    assert built == AndSpecification(
        [OPEN, OrSpecification([LARGE, AndSpecification([VIP, small])])]
    )


def test_not_group_holds_unless_all_its_conditions_hold() -> None:
    built = builder().not_group().where("status", "=", "open").add(LARGE).end_group().build()

    assert built == NotSpecification(AndSpecification([OPEN, LARGE]))


def test_empty_or_group_is_never_satisfied() -> None:
    built = builder().where("status", "=", "open").or_group().end_group().build()

    assert not built.is_satisfied_by({"status": "open"})


def test_builder_accepts_a_condition_without_a_value() -> None:
    built = builder().where("note", "is_null").build()

    assert built.is_satisfied_by({"note": None})


@pytest.mark.parametrize("in_a_group", [False, True])
def test_builder_adds_an_opaque_specification_unchanged(in_a_group: bool) -> None:
    opaque = IsLarge()

    started = builder().not_group() if in_a_group else builder()
    added = started.add(opaque)
    built = (added.end_group() if in_a_group else added).build()

    assert built.is_satisfied_by({"total": 200}) is not in_a_group


def test_builder_rejects_the_end_of_a_group_that_is_not_open() -> None:
    with pytest.raises(InvalidOperationError, match="no group is open"):
        builder().where("status", "=", "open").end_group()


def test_builder_rejects_build_with_open_groups() -> None:
    with pytest.raises(InvalidOperationError, match=r"2 group\(s\) still open"):
        builder().or_group().and_group().build()


def test_builder_can_be_extended_after_a_build() -> None:
    started = builder().where("status", "=", "open")
    first = started.build()

    second = started.where("total", ">", 100).build()

    assert first == OPEN
    assert second == AndSpecification([OPEN, LARGE])
