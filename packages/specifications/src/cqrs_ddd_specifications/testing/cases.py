"""Random models, objects and specifications from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any
from uuid import UUID

from ..field_types import Kind, path_of, type_of
from ..memory.evaluator import extract_values
from ..operators import OPERATORS
from ..query_options import QueryOptions
from ..specification import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
)
from .operands import Operands
from .values import Values


class Color(Enum):
    """Enum of the generated field ``color``."""

    RED = "red"
    GREEN = "green"
    BLUE = "BLUE"


@dataclass
class Place:
    """Value object that a backend stores in one JSON column."""

    city: str | None = None
    number: int | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Owner:
    """Row of a to-one relation."""

    name: str
    age: int | None = None
    notes: dict[str, Any] | None = None


@dataclass
class Part:
    """Row of a to-many relation."""

    code: str | None = None
    grams: int | None = None
    notes: dict[str, Any] | None = None


_FIELDS: dict[str, Any] = {
    "name": str,
    "note": str | None,
    "count": int | None,
    "ratio": float | None,
    "price": Decimal | None,
    "active": bool | None,
    "made_at": datetime | None,
    "day": date | None,
    "hour": time | None,
    "length": timedelta | None,
    "key": UUID | None,
    "color": Color | None,
    "raw": bytes | None,
    "tags": list[str] | None,
    "numbers": list[int] | None,
    "data": dict[str, Any] | None,
    "place": Place | None,
    "places": list[Place] | None,
}


class Cases:
    """Random model class with objects and specifications, all generated from one seed.

    The objects have an ``id`` from 1 on. ``owner`` and ``parts`` are relations; ``data``, ``place``
    and ``places`` are stored in one JSON column each. A backend passes if it selects exactly the
    objects for which ``is_satisfied_by`` returns True.

    Args:
        seed: Seed of the random numbers; the same seed generates the same cases.
        objects: Number of objects.

    Attributes:
        model: The generated dataclass.
        fields: Type annotation of each generated field, by name.
        objects: The generated objects of ``model``.
    """

    def __init__(self, seed: int, *, objects: int = 40) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.values = Values(self.random)
        self._operands = Operands(self.values)
        names = self.random.sample(sorted(_FIELDS), k=self.random.randrange(5, len(_FIELDS) + 1))
        self.fields = {name: _FIELDS[name] for name in names}
        self.model = make_dataclass(
            f"Item{seed}",
            [
                ("id", int),
                *self.fields.items(),
                ("owner", Owner | None),
                ("parts", list[Part]),
            ],
        )
        self.objects = [self._object(number) for number in range(1, objects + 1)]

    def specifications(self, number: int) -> Iterator[Specification]:
        """Generate this number of specifications for the fields of the model."""
        return (self._specification(self.random.choice((0, 0, 1, 1, 2, 3))) for _ in range(number))

    def options(self) -> QueryOptions:
        """Return options of a page, by offset or after an object, in an order of all backends."""
        orderable = self._orderable()
        names = self.random.sample(orderable, k=min(len(orderable), self.random.choice((1, 1, 2))))
        ordering = (*(f"{self.random.choice(('', '-'))}{name}" for name in names), "id")
        options = QueryOptions(
            self._specification(1), ordering, self.random.choice((None, 0, 3, 50))
        )
        if self.random.random() < 0.5:
            return options.next_page(self.random.choice(self.objects))
        return options.with_pagination(options.limit, self.random.choice((0, 1, 5)))

    def _orderable(self) -> list[str]:
        unordered = (Kind.ARRAY, Kind.JSON, Kind.ENUM)
        return [name for name in self.fields if type_of(self.fields[name]).kind not in unordered]

    def _object(self, number: int) -> Any:
        values = {name: self._field_value(annotation) for name, annotation in self.fields.items()}
        owner = None if self.random.random() < 0.3 else self._owner()
        parts = [self._part() for _ in range(self.random.choice((0, 0, 1, 2, 3)))]
        return self.model(id=number, **values, owner=owner, parts=parts)

    def _field_value(self, annotation: Any) -> Any:
        if annotation is not str and self.random.random() < 0.25:
            return None
        if annotation == Place | None:
            return self._place()
        if annotation == list[Place] | None:
            return [self._place() for _ in range(self.random.choice((0, 1, 2)))]
        if annotation == dict[str, Any] | None:
            return self._notes()
        return self.values.generate(type_of(annotation), is_stored=True)

    def _place(self) -> Place:
        return Place(
            self._or_none(self.values.text()),
            self._or_none(self.values.integer()),
            [self.values.text() for _ in range(self.random.choice((0, 1, 2)))],
        )

    def _owner(self) -> Owner:
        return Owner(self.values.text(), self._or_none(self.values.integer()), self._notes())

    def _part(self) -> Part:
        text, integer = self.values.text(), self.values.integer()
        return Part(self._or_none(text), self._or_none(integer), self._notes())

    def _notes(self) -> dict[str, Any]:
        return {self.values.key(): self.values.document(1) for _ in range(self.random.randrange(4))}

    def _or_none(self, value: Any) -> Any:
        return None if self.random.random() < 0.2 else value

    def _specification(self, depth: int) -> Specification:
        if depth == 0:
            return self._condition()
        if self.random.random() < 0.3:
            return NotSpecification(self._specification(depth - 1))
        parts = [self._specification(depth - 1) for _ in range(self.random.choice((1, 2, 2, 3)))]
        return self.random.choice((AndSpecification, OrSpecification))(parts)

    def _condition(self) -> Specification:
        path = self._path()
        field_type = path_of(self.model, path).type
        kinds = [each for each in OPERATORS if each.portable and field_type.kind in each.kinds]
        operator = self.random.choice(kinds)
        return AttributeSpecification(
            path, operator, self._operands.generate(operator, field_type, self._choose_value(path))
        )

    def _choose_value(self, path: str) -> Any:
        """Return a value that one of the objects holds at the path."""
        reached = extract_values(path_of(self.model, path))(self.random.choice(self.objects))
        return self.random.choice(reached)

    def _path(self) -> str:
        name = self.random.choice([*self.fields, "id", "owner", "parts"])
        if name == "owner":
            return self._add_keys(f"owner.{self.random.choice(('name', 'age', 'notes'))}")
        if name == "parts":
            return self._add_keys(f"parts.{self.random.choice(('code', 'grams', 'notes'))}")
        if name in ("place", "places") and self.random.random() < 0.8:
            return f"{name}.{self.random.choice(('city', 'number', 'tags'))}"
        return self._add_keys(name)

    def _add_keys(self, path: str) -> str:
        if path.rpartition(".")[2] not in ("data", "notes"):
            return path
        keys = [self.values.path_key() for _ in range(self.random.choice((0, 1, 1, 2)))]
        return ".".join([path, *keys])
