from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from cqrs_ddd_core.domain.specification import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_specifications import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
)
from cqrs_ddd_specifications.exceptions import (
    SpecificationLimitError,
    SpecificationValueError,
    UnknownOperatorError,
)
from cqrs_ddd_specifications.specification import MAX_DEPTH, MAX_NODES


@dataclass
class Lamp:
    watts: int
    room: str = "hall"


class IsBright:
    """Specification of an application's own class."""

    def is_satisfied_by(self, candidate: Any) -> bool:
        return bool(candidate.watts > 60)


BRIGHT = AttributeSpecification("watts", ">", 60)
HALL = AttributeSpecification("room", "=", "hall")
WEAK = AttributeSpecification("watts", "<", 10)


@pytest.mark.parametrize(
    ("lamp", "both", "one", "not_bright"),
    [
        (Lamp(75, "hall"), True, True, False),
        (Lamp(75, "attic"), False, True, False),
        (Lamp(40, "hall"), False, True, True),
        (Lamp(40, "attic"), False, False, True),
    ],
)
def test_specifications_combine_by_and_or_and_not(
    lamp: Lamp, both: bool, one: bool, not_bright: bool
) -> None:
    assert (BRIGHT & HALL).is_satisfied_by(lamp) is both
    assert (BRIGHT | HALL).is_satisfied_by(lamp) is one
    assert (~BRIGHT).is_satisfied_by(lamp) is not_bright
    assert (~~BRIGHT).is_satisfied_by(lamp) is not not_bright


def test_empty_and_is_always_satisfied_and_empty_or_never() -> None:
    assert AndSpecification().is_satisfied_by(Lamp(1))
    assert not OrSpecification().is_satisfied_by(Lamp(1))
    assert not (~AndSpecification()).is_satisfied_by(Lamp(1))


def test_long_chain_of_and_stays_flat() -> None:
    joined: Specification = BRIGHT
    for _ in range(400):
        joined = joined & HALL

    assert isinstance(joined, AndSpecification)
    assert len(joined.specifications) == 401
    assert (joined.depth, joined.nodes) == (2, 402)


def test_chains_of_and_and_or_are_not_merged() -> None:
    mixed = (BRIGHT & HALL) | WEAK

    assert mixed == OrSpecification([AndSpecification([BRIGHT, HALL]), WEAK])
    assert mixed.depth == 3


def test_opaque_specification_is_evaluated_by_its_own_method() -> None:
    opaque = IsBright()

    assert (HALL & opaque).is_satisfied_by(Lamp(75))
    assert (opaque & HALL).is_satisfied_by(Lamp(75))
    assert (opaque | WEAK).is_satisfied_by(Lamp(75, "attic"))
    assert not NotSpecification(opaque).is_satisfied_by(Lamp(75))
    assert not (HALL & opaque).is_satisfied_by(Lamp(40))


def test_opaque_specification_on_the_left_keeps_its_place() -> None:
    opaque = IsBright()

    assert (opaque & HALL) == AndSpecification([opaque, HALL])


@pytest.mark.parametrize("stranger", [None, "watts > 60", 1, lambda lamp: True])
def test_other_objects_cannot_be_combined_with_specifications(stranger: Any) -> None:
    with pytest.raises(InvalidOperationError, match="is not a specification"):
        BRIGHT & stranger
    with pytest.raises(InvalidOperationError, match="is not a specification"):
        NotSpecification(stranger)


def test_specifications_compare_by_value() -> None:
    assert AttributeSpecification("watts", "gt", 60) == BRIGHT
    assert AndSpecification([BRIGHT, HALL]) == (BRIGHT & HALL)
    assert (BRIGHT & HALL) != (BRIGHT | HALL)
    assert NotSpecification(BRIGHT) == ~BRIGHT
    assert len({BRIGHT & HALL, AndSpecification([BRIGHT, HALL])}) == 1


def test_evaluation_does_not_change_the_equality_of_specifications() -> None:
    asked = AttributeSpecification("watts", ">", 60)
    asked.is_satisfied_by(Lamp(1))

    assert asked == AttributeSpecification("watts", ">", 60)


def test_specification_is_immutable() -> None:
    with pytest.raises(AttributeError):
        BRIGHT.value = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, copy.copy]
)
def test_copy_of_a_specification_is_equal(copied: Any) -> None:
    original = (BRIGHT & ~HALL) | AttributeSpecification("room", "in", ["attic", "cellar"])
    original.is_satisfied_by(Lamp(1))

    twin = copied(original)

    assert twin == original
    assert (twin.depth, twin.nodes) == (original.depth, original.nodes)
    assert twin.is_satisfied_by(Lamp(1, "attic"))


def test_repr_of_a_specification_shows_its_conditions() -> None:
    shown = repr(BRIGHT & ~HALL)

    assert shown == "AndSpecification(watts > 60, NotSpecification(room = 'hall'))"


def test_specification_implements_the_port() -> None:
    assert isinstance(BRIGHT, ISpecification)


def test_condition_keeps_a_copy_of_its_operand_list() -> None:
    rooms = ["attic"]
    condition = AttributeSpecification("room", "in", rooms)
    rooms.append("hall")

    assert condition.value == ("attic",)
    assert not condition.is_satisfied_by(Lamp(1, "hall"))


def test_specification_with_too_many_levels_is_rejected() -> None:
    deep: Specification = BRIGHT
    for _ in range(MAX_DEPTH - 1):
        deep = ~deep
    assert deep.is_satisfied_by(Lamp(1))

    with pytest.raises(SpecificationLimitError) as caught:
        NotSpecification(deep)

    assert (caught.value.limit, caught.value.allowed) == ("levels", MAX_DEPTH)
    assert str(caught.value) == ("a query may have at most 64 levels, got 65; send a smaller query")


@pytest.mark.parametrize("join", [AndSpecification, OrSpecification])
def test_deepest_allowed_specification_is_evaluated(join: type[AndSpecification]) -> None:
    deep: Specification = BRIGHT
    for _ in range(MAX_DEPTH - 1):
        deep = join([HALL, deep])

    assert deep.is_satisfied_by(Lamp(75, "hall"))


def test_specification_with_too_many_conditions_is_rejected() -> None:
    most = OrSpecification([WEAK] * (MAX_NODES - 1))
    assert most.nodes == MAX_NODES
    assert not most.is_satisfied_by(Lamp(75))

    with pytest.raises(SpecificationLimitError):
        OrSpecification([WEAK] * MAX_NODES)
    with pytest.raises(SpecificationLimitError):
        NotSpecification(most)


def test_shared_conditions_count_at_each_use() -> None:
    shared: Specification = BRIGHT
    for _ in range(7):
        shared = AndSpecification([shared, shared])
    assert shared.nodes == 255

    with pytest.raises(SpecificationLimitError, match="conditions and groups"):
        AndSpecification([shared, shared])


@pytest.mark.parametrize("attribute", ["", ".", "a.", ".a", "a..b", None, 1, ["a"]])
def test_condition_rejects_an_attribute_that_is_not_a_path_of_names(attribute: Any) -> None:
    with pytest.raises(SpecificationValueError, match="an attribute takes a name"):
        AttributeSpecification(attribute, "=", 1)


def test_attribute_path_of_a_condition_is_bounded() -> None:
    AttributeSpecification(".".join("a" * 16), "=", 1)

    with pytest.raises(SpecificationLimitError, match="names in a path"):
        AttributeSpecification(".".join("a" * 17), "=", 1)
    with pytest.raises(SpecificationLimitError, match="characters in a path"):
        AttributeSpecification("a" * 1_001, "=", 1)


@pytest.mark.parametrize("attribute", ["data.\x00", "data.\ud800"])
def test_condition_rejects_path_keys_that_databases_cannot_store(attribute: str) -> None:
    with pytest.raises(SpecificationValueError, match="cannot be stored in a database"):
        AttributeSpecification(attribute, "=", 1)


def test_condition_rejects_an_unknown_operator_at_construction() -> None:
    with pytest.raises(UnknownOperatorError):
        AttributeSpecification("watts", "=>", 1)
