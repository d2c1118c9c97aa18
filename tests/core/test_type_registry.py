from __future__ import annotations

import pytest

from cqrs_ddd_core.primitives.exceptions import DuplicateTypeError, UnknownTypeError
from cqrs_ddd_core.primitives.type_registry import TypeRegistry


class Circle: ...


class Square: ...


def test_type_registry_rejects_a_second_registration_of_a_name() -> None:
    shapes: TypeRegistry[object] = TypeRegistry("shape")
    shapes.add("round", Circle)

    with pytest.raises(DuplicateTypeError, match=r"'round' is already .*Circle; register it once"):
        shapes.add("round", Circle)
    with pytest.raises(
        DuplicateTypeError, match=r"shape 'round' is already .*Circle; give .*Square"
    ):
        shapes.add("round", Square)

    assert shapes.get("round") is Circle
    assert ("round" in shapes, "square" in shapes, len(shapes), list(shapes)) == (
        True,
        False,
        1,
        [Circle],
    )


def test_type_registry_error_lists_similar_names_if_there_are_any() -> None:
    shapes: TypeRegistry[object] = TypeRegistry("shape")

    with pytest.raises(UnknownTypeError, match="no shape 'rund' is registered; there is none yet"):
        shapes.get("rund")
    shapes.add("round", Circle)
    shapes.add("square", Square)
    with pytest.raises(UnknownTypeError, match="there is round; register") as caught:
        shapes.get("rund")
    with pytest.raises(UnknownTypeError, match="there is round, square;"):
        shapes.get("zzz")

    assert caught.value.name == "rund"
