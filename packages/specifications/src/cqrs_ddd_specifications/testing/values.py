"""Random values of every kind, with a high share of edge cases."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any
from uuid import UUID

from ..field_types import FieldType, Kind

_TEXTS = (
    *("", " ", "a", "A", "ab", "aB", "AB", "abc", "b", "z", "Z", "~", "0", "10", "9"),
    *("true", "null", "Äpfel", "äpfel", "ÄPFEL", "ß", "ss", "SS", "\u0130", "i", "\u0131", "I"),
    *("naïve", "\u00e9", "e\u0301", "\u00df\u0307", "\u200b", "\u3042", "\U0001f600"),
    *("\ud7ff", "\uffff", "%", "_", "\\", "a%b", "a_b", "\\%", "*", "?", "[", "]", "[a]"),
    *("[^a]", "a*b", "a?b", "{", "}", "'", '"', "'; DROP TABLE items; --", "$1", ":name"),
    *("?1", "%s", "{0}", "$.a", "a.b", "\n", "a\nb", "\t", "x" * 60),
)
_INTEGERS = (0, 1, -1, 2, 3, 10, 2**31 - 1, 2**31, -(2**31), 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, 1.0, 0.1, 0.2, 0.1 + 0.2, 1.5, -1.5, 1e300, 5e-324, 2.0**53, 1e22, 1 / 3)
_DECIMALS = ("0", "0.01", "0.10", "1", "1.50", "-2.25", "99.99", "1999999999.99", "-1999999999.99")
_BEYOND_SCALE = ("0.001", "1.999", "-2.2500001", "1e20", "-1e20", "0.1000", "1E+2")
_START = datetime(2026, 3, 29, 1, 30, tzinfo=timezone.utc)
_DATES = (date(1, 1, 1), date(9999, 12, 31), date(2026, 2, 28))
_DURATIONS = (
    *(timedelta(), timedelta(days=9), timedelta(days=10), timedelta(hours=24), timedelta(days=-1)),
    *(timedelta(days=700_000), timedelta(days=-700_000), timedelta(microseconds=-1)),
)
_TIMES = (time(), time(23, 59, 59, 999999), time(12, 30), time(0, 0, 0, 1))
_ZONES = tuple(timezone(timedelta(minutes=m)) for m in (0, 60, 330, -660, 845))
_KEYS = ("a", "b", "c", "a b", "ключ", 'q"uote', "$", "0", "[0]", "", "A")


class Values:
    """Generator of values.

    Args:
        random: Source of the random numbers.
    """

    def __init__(self, random: Random) -> None:
        self.random = random

    def generate(self, field_type: FieldType, *, is_stored: bool) -> Any:
        """Return a value of a field, or an operand to compare it with.

        Args:
            field_type: Type of the field.
            is_stored: Whether the field must be able to store the value.
        """
        kind = field_type.kind
        if kind is Kind.ENUM:
            return self._member(field_type.enum)
        if kind is Kind.ARRAY:
            assert field_type.item is not None
            return [
                self.generate(field_type.item, is_stored=is_stored) for _ in range(self._length())
            ]
        if kind is Kind.DECIMAL:
            return self.decimal(is_stored=is_stored)
        return self._by_kind()[kind]()

    def _by_kind(self) -> dict[Kind, Callable[[], Any]]:
        return {
            Kind.TEXT: self.text,
            Kind.INTEGER: self.integer,
            Kind.FLOAT: self.float,
            Kind.BOOLEAN: lambda: self.random.random() < 0.5,
            Kind.DATETIME: self.datetime,
            Kind.DATE: self.date,
            Kind.TIME: self.time,
            Kind.DURATION: self.duration,
            Kind.UUID: lambda: UUID(int=self.random.choice((0, 1, 2**64, 2**127, 2**128 - 1))),
            Kind.BYTES: lambda: self.random.choice((b"", b"\x00", b"a", b"\xff\xfe", b"'")),
            Kind.JSON: self.document,
        }

    def text(self) -> str:
        """Return a short text, often with special characters."""
        if self.random.random() < 0.7:
            return self.random.choice(_TEXTS)
        letters = string.ascii_letters[:6] + "%_\\ÄäΣσς*"
        return "".join(self.random.choices(letters, k=self.random.randrange(6)))

    def pattern(self) -> str:
        """Return a valid pattern of the operator ``like``."""
        text = self.text().replace("\\", "\\\\")
        pieces = self.random.choices(["%", "_", "\\%", "\\_", "a", "A", text], k=self._length())
        return "".join(pieces) + text[: self.random.randrange(4)].rstrip("\\")

    def integer(self) -> int:
        """Return an integer of at most 64 bits."""
        return self.random.choice(_INTEGERS) if self.random.random() < 0.5 else self._small()

    def float(self) -> float:
        """Return a finite float."""
        return self.random.choice(_FLOATS) if self.random.random() < 0.7 else self._small() / 4

    def decimal(self, *, is_stored: bool) -> Decimal:
        """Return a decimal, with at most two places if it is stored."""
        if not is_stored and self.random.random() < 0.3:
            return Decimal(self.random.choice(_BEYOND_SCALE))
        if self.random.random() < 0.6:
            return Decimal(self.random.choice(_DECIMALS))
        return Decimal(self._small()) / 4

    def datetime(self) -> datetime:
        """Return a time with a zone, close to a change to summer time."""
        moved = _START + timedelta(
            minutes=30 * self._small(), microseconds=self.random.choice((0, 1))
        )
        return moved.astimezone(self.random.choice(_ZONES))

    def date(self) -> date:
        """Return a date, often the first or the last possible one."""
        return self.random.choice(
            (date(1, 1, 1), date(9999, 12, 31), date(2026, 2, 28), self.datetime().date())
        )

    def duration(self) -> timedelta:
        """Return a duration, often close to a day and sometimes negative or very long."""
        if self.random.random() < 0.3:
            return self.random.choice(_DURATIONS)
        return timedelta(hours=self._small(), microseconds=self.random.choice((0, 1, 999_999)))

    def time(self) -> time:
        """Return a time of day without a zone."""
        return self.random.choice(
            (time(), time(23, 59, 59, 999999), time(12, 30), time(0, 0, 0, 1))
        )

    def document(self, depth: int = 0) -> Any:
        """Return a JSON value: mostly an object at the top, and any value below."""
        dice = self.random.random()
        if depth < 3 and dice < (0.75 if depth == 0 else 0.3):
            return {self.key(): self.document(depth + 1) for _ in range(self._length())}
        if depth < 3 and dice < 0.9 and dice > 0.65:
            return [self.document(depth + 1) for _ in range(self._length())]
        return self.scalar() if depth or dice > 0.97 else {}

    def scalar(self) -> Any:
        """Return a number, a text, true, false or null."""
        make = self.random.choice(
            (self.text, self.integer, self.float, lambda: True, lambda: False, lambda: None)
        )
        return make()

    def key(self) -> str:
        """Return a key of a JSON object."""
        return self.random.choice(_KEYS)

    def path_key(self) -> str:
        """Return a key that can be a part of a dotted path."""
        return self.random.choice([key for key in _KEYS if key])

    def _member(self, kind: type[Enum] | None) -> Enum:
        assert kind is not None
        return self.random.choice(list(kind))

    def _small(self) -> int:
        return self.random.randrange(-3, 6)

    def _length(self) -> int:
        return self.random.choice((0, 1, 1, 2, 3))
