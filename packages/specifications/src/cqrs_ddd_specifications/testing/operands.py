"""Random operands, about half of them equal or close to a value of an object."""

from __future__ import annotations

from typing import Any

from ..field_types import FieldType, Kind
from ..json_values import to_field_json
from ..operators import EQ, IN, JSON_CONTAINED_BY, NE, NOT_IN, Operator, Takes
from .values import Values


class Operands:
    """Generator of operands.

    Args:
        values: Generator of the values that are not taken from an object.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._random = values.random

    def generate(self, operator: Operator, field_type: FieldType, held: Any) -> Any:
        """Return an operand in the shape that the operator takes.

        Args:
            operator: The operator of the condition.
            field_type: Type of the field that is compared.
            held: Value of the field in one of the objects.
        """
        takes = operator.takes
        if takes is Takes.NOTHING:
            return None
        if takes is Takes.PATTERN:
            return self._pattern(held) if self._is_near() else self._values.pattern()
        if takes is Takes.TEXT:
            return self._part(held) if self._is_near() else self._values.text()
        if takes in (Takes.KEY, Takes.KEYS, Takes.PATH):
            keys = self._keys(held)
            return keys[0] if takes is Takes.KEY else keys
        if takes is Takes.DOCUMENT:
            return self._document(operator, held)
        if takes is Takes.LIST:
            return self._list(operator, field_type, held)
        if takes is Takes.RANGE:
            return [self._one(field_type, held) for _ in range(2)]
        if operator in (EQ, NE) and self._random.random() < 0.1:
            return None
        return self._one(field_type, held)

    def _one(self, field_type: FieldType, held: Any) -> Any:
        if self._is_near() and held is not None:
            return held
        if field_type.kind is Kind.JSON:
            is_deep = self._random.random() < 0.2
            value = self._values.document() if is_deep else self._values.scalar()
            return 0 if value is None else value
        return self._values.generate(field_type, is_stored=False)

    def _list(self, operator: Operator, field_type: FieldType, held: Any) -> list[Any]:
        number = self._random.randrange(4)
        if operator in (IN, NOT_IN):
            listed = [self._one(field_type, held) for _ in range(number)]
            return [*listed, None] if self._random.random() < 0.2 else listed
        near = [*held] if isinstance(held, list) and self._is_near() else []
        listed = near[:number] + [self._one(field_type.item or field_type, None)] * (not near)
        return [each for each in listed if not isinstance(each, (dict, list, type(None)))]

    def _part(self, held: Any) -> str:
        text = held if isinstance(held, str) else self._values.text()
        start, end = sorted(self._random.randrange(len(text) + 1) for _ in range(2))
        part = self._random.choice((text[:end], text[start:], text[start:end]))
        # Such a character matches anything as a pattern, but only itself as plain text.
        if part and self._random.random() < 0.2:
            place = self._random.randrange(len(part))
            part = part[:place] + self._random.choice("_%*?") + part[place + 1 :]
        return part.swapcase() if self._random.random() < 0.2 else part

    def _pattern(self, held: Any) -> str:
        text = held if isinstance(held, str) else self._values.text()
        pieces = [f"\\{each}" if each in "\\%_" else each for each in text]
        for _ in range(self._random.randrange(3)):
            place = self._random.randrange(len(pieces) + 1)
            pieces[place : place + self._random.randrange(3)] = [self._random.choice("%%_")]
        pattern = "".join(pieces)
        return pattern.swapcase() if self._random.random() < 0.2 else pattern

    def _keys(self, held: Any) -> list[str]:
        found = []
        while isinstance(held, dict) and held and self._is_near():
            key = self._random.choice(sorted(held))
            found.append(key)
            held = held[key]
        return found or [self._values.key() for _ in range(self._random.choice((1, 2)))]

    def _document(self, operator: Operator, held: Any) -> Any:
        held = to_field_json(held)
        if not isinstance(held, (dict, list)) or not held or not self._is_near():
            return self._values.document()
        if operator is JSON_CONTAINED_BY:
            return {**held, "more": 1} if isinstance(held, dict) else [*held, "more"]
        if isinstance(held, list):
            return [self._random.choice(held)]
        key = self._random.choice(sorted(held))
        return {key: held[key]}

    def _is_near(self) -> bool:
        return self._random.random() < 0.6
