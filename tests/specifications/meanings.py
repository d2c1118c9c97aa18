"""Expected result of each operator for many values, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel


class Color(Enum):
    RED = "red"


@dataclass
class Owner:
    name: str | None = None
    home: dict[str, Any] | None = None


@dataclass
class Part:
    code: str | None = None
    grams: int | None = None
    notes: dict[str, Any] | None = None


@dataclass
class Thing:
    text: str | None = None
    number: int | None = None
    price: Decimal | None = None
    ratio: float | None = None
    tags: list[str] | None = None
    data: dict[str, Any] | None = None
    owner: Owner | None = None
    parts: list[Part] = field(default_factory=list)


class ThingModel(BaseModel):
    text: str | None = None
    number: int | None = None
    price: Decimal | None = None
    ratio: float | None = None
    tags: list[str] | None = None
    data: dict[str, Any] | None = None
    owner: Owner | None = None
    parts: list[Part] = []


@dataclass
class Moment:
    """Object with fields of declared types."""

    at: datetime | None = None
    day: date | None = None
    hour: time | None = None
    length: timedelta | None = None
    key: UUID | None = None
    color: Color | None = None
    raw: bytes | None = None
    is_on: bool | None = None
    price: Decimal | None = None


class FoldingZone(tzinfo):
    """Zone two hours ahead until 1:00 UTC on the 25th, then one hour: 2:30 occurs twice."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        ends = datetime(2026, 10, 25, 3)
        local = moment.replace(tzinfo=None)
        is_summer = local < ends - timedelta(hours=1) or (local < ends and not moment.fold)
        return timedelta(hours=2 if is_summer else 1)

    def dst(self, moment: datetime | None) -> timedelta:
        return self.utcoffset(moment) - timedelta(hours=1)

    def tzname(self, moment: datetime | None) -> str:
        return "folding"


ZONE = FoldingZone()
FIRST = datetime(2026, 10, 25, 2, 30, tzinfo=ZONE)
SECOND = FIRST.replace(fold=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=5, minutes=30))

WORLDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a dataclass": lambda values: Thing(**values),
    "a pydantic model": lambda values: ThingModel(**values),
    "a dict": lambda values: asdict(Thing(**values)),
    "a dict without None": lambda values: {
        name: value for name, value in asdict(Thing(**values)).items() if value is not None
    },
}

TEXT = [
    ("abc", "=", "abc", True),
    ("abc", "=", "ABC", False),
    ("abc", "=", "abc ", False),
    ("", "=", "", True),
    ("", "=", None, False),
    (None, "=", "", False),
    (None, "=", None, True),
    (None, "!=", "a", True),
    (None, "!=", None, False),
    ("a", "!=", None, True),
    ("é", "=", "e\u0301", False),
    ("ß", "=", "ss", False),
    ("Z", "<", "a", True),
    ("a", "<", "Z", False),
    ("z", "<", "ä", True),
    ("\uffff", "<", "\U0001f600", True),
    ("10", "<", "9", True),
    ("", "<", "a", True),
    ("a", "<", "a", False),
    ("a", "<=", "a", True),
    ("b", ">", "a", True),
    ("a", ">", "a", False),
    ("a", ">=", "a", True),
    (None, "<", "a", False),
    (None, "<=", "a", False),
    (None, ">", "", False),
    (None, ">=", "", False),
    ("a", "in", ["a", "b"], True),
    ("c", "in", ["a", "b"], False),
    ("a", "in", [], False),
    (None, "in", ["a"], False),
    (None, "in", ["a", None], True),
    (None, "in", [], False),
    ("c", "in", ["a", None], False),
    ("b", "between", ["a", "c"], True),
    ("a", "between", ["a", "c"], True),
    ("c", "between", ["a", "c"], True),
    ("b", "between", ["c", "a"], False),
    (None, "between", ["a", "c"], False),
    (None, "is_null", None, True),
    ("", "is_null", None, False),
    (None, "is_empty", None, True),
    ("", "is_empty", None, True),
    (" ", "is_empty", None, False),
]

PATTERNS = [
    (None, "not_like", "%", True),
    ("abc", "not_startswith", "a", False),
    ("abc", "excludes", "d", True),
    ("abc", "like", "abc", True),
    ("abc", "like", "ABC", False),
    ("abc", "like", "ab", False),
    ("abc", "like", "bc", False),
    ("abc", "like", "a%", True),
    ("abc", "like", "%c", True),
    ("abc", "like", "%b%", True),
    ("abc", "like", "a%c", True),
    ("ac", "like", "a%c", True),
    ("aca", "like", "a%c", False),
    ("abc", "like", "a_c", True),
    ("ac", "like", "a_c", False),
    ("abbc", "like", "a_c", False),
    ("abc", "like", "___", True),
    ("abc", "like", "____", False),
    ("abc", "like", "____%", False),
    ("abc", "like", "___%", True),
    ("\U0001f600", "like", "_", True),
    ("e\u0301", "like", "_", False),
    ("", "like", "", True),
    ("a", "like", "", False),
    ("", "like", "%", True),
    ("a\nb", "like", "a%b", True),
    ("a\nb", "like", "a_b", True),
    ("a\n", "like", "a", False),
    ("a", "like", "%%%", True),
    ("aba", "like", "ab%ba", False),
    ("abba", "like", "ab%ba", True),
    ("abab", "like", "%ab", True),
    ("a%b", "like", "a\\%b", True),
    ("axb", "like", "a\\%b", False),
    ("a_b", "like", "a\\_b", True),
    ("axb", "like", "a\\_b", False),
    ("a\\b", "like", "a\\\\b", True),
    ("a\\xb", "like", "a\\\\%b", True),
    ("abc", "like", "\\a\\b\\c", True),
    ("a.c", "like", "a.c", True),
    ("abc", "like", "a.c", False),
    ("[a]", "like", "[a]", True),
    ("a", "like", "[a]", False),
    ("a*b?", "like", "a*b?", True),
    ("^$(|)+{1}", "like", "^$(|)+{1}", True),
    (None, "like", "%", False),
    ("ABC", "ilike", "a_c", True),
    ("abc", "ilike", "A%", True),
    ("Ä", "ilike", "ä", False),
    ("\u212a", "ilike", "k", False),
    ("\u0130", "ilike", "i%", False),
    ("A%", "ilike", "a\\%", True),
    (None, "ilike", "%", False),
    ("abc", "contains", "b", True),
    ("abc", "contains", "B", False),
    ("abc", "contains", "", True),
    ("", "contains", "", True),
    ("", "contains", "a", False),
    ("100%", "contains", "%", True),
    ("100", "contains", "%", False),
    ("abc", "contains", "_", False),
    ("a\\b", "contains", "\\", True),
    (None, "contains", "", False),
    ("aBc", "icontains", "bC", True),
    ("straße", "icontains", "SS", False),
    ("ÄB", "icontains", "b", True),
    ("ÄB", "icontains", "ä", False),
    (None, "icontains", "", False),
    ("abc", "startswith", "ab", True),
    ("abc", "startswith", "bc", False),
    ("abc", "startswith", "", True),
    ("_a", "startswith", "%", False),
    (None, "startswith", "", False),
    ("ABC", "istartswith", "ab", True),
    (None, "istartswith", "", False),
    ("abc", "endswith", "bc", True),
    ("abc", "endswith", "ab", False),
    ("a\n", "endswith", "a", False),
    (None, "endswith", "", False),
    ("ABC", "iendswith", "bc", True),
    (None, "iendswith", "", False),
]

NUMBERS = [
    ("number", 1, "=", 1.0, True),
    ("number", 1, "=", 1.5, False),
    ("number", 1, "<", 1.5, True),
    ("number", 2, ">", 1.5, True),
    ("number", 2, "between", [1.5, 2.5], True),
    ("number", 5, "in", [5.0, 7], True),
    ("number", 5, "=", Decimal("5.00"), True),
    ("number", 0, "=", None, False),
    ("number", None, "=", 0, False),
    ("number", None, "<", 0, False),
    ("number", 10, ">", 9, True),
    ("number", 2**53 + 1, "=", 2**53, False),
    ("number", 2**53 + 1, "=", 2.0**53, False),
    ("number", 2**53, "=", 2.0**53, True),
    ("number", 2**53 + 1, ">", 2.0**53, True),
    ("number", 10**23, "=", 1e23, True),
    ("number", int(1e23), "=", 1e23, False),
    ("number", None, "is_null", None, True),
    ("number", 0, "is_null", None, False),
    ("price", Decimal("1.50"), "=", 1.5, True),
    ("price", Decimal("0.1"), "=", 0.1, True),
    ("price", Decimal("0.3"), "=", 0.1 + 0.2, False),
    ("price", Decimal("1E+2"), "=", 100, True),
    ("price", Decimal("0.1"), ">=", 0.1, True),
    ("price", Decimal("0.10"), "in", [Decimal("0.1")], True),
    ("price", Decimal("-0"), "=", 0, True),
    ("ratio", 1.0, "=", 1, True),
    ("ratio", 0.1, "=", Decimal("0.1"), True),
    ("ratio", 0.1 + 0.2, "=", 0.3, False),
    ("ratio", -0.0, "=", 0, True),
    ("ratio", 5e-324, ">", 0, True),
    ("ratio", float("nan"), "=", 1.0, False),
    ("ratio", float("nan"), "<", 1.0, False),
    ("ratio", float("nan"), "in", [1.0], False),
    ("ratio", float("inf"), ">", 1e308, True),
]

LISTS = [
    (["a", "b"], "contains_any", ["b", "c"], True),
    (["a", "b"], "contains_any", ["B"], False),
    (["a"], "contains_any", [], False),
    ([], "contains_any", ["a"], False),
    (None, "contains_any", ["a"], False),
    (["a", "b"], "contains_all", ["b", "a", "a"], True),
    (["a"], "contains_all", ["a", "b"], False),
    (["a"], "contains_all", [], True),
    ([], "contains_all", [], True),
    (None, "contains_all", [], False),
    ([], "is_empty", None, True),
    (None, "is_empty", None, True),
    ([""], "is_empty", None, False),
    (["a"], "=", ["a"], True),
    (["a", "b"], "=", ["b", "a"], False),
    (None, "=", [], False),
    ([], "is_null", None, False),
    (["a", "b"], "json_contains", ["b"], True),
    (["a", "b"], "json_contains", "b", True),
    (["a"], "json_contained_by", ["a", "b"], True),
    (["c"], "json_contained_by", ["a", "b"], False),
    (None, "json_contained_by", ["a"], False),
]

DOCUMENTS: list[tuple[str, Any, str, Any, bool]] = [
    ("data", {"a": 1}, "=", {"a": 1.0}, True),
    ("data", {"a": 1}, "=", {"a": True}, False),
    ("data", {"a": 1}, "=", {"a": 1, "b": 2}, False),
    ("data", {"a": 1, "b": 2}, "=", {"b": 2, "a": 1}, True),
    ("data", None, "=", None, True),
    ("data", None, "is_null", None, True),
    ("data", {}, "is_null", None, False),
    ("data", {}, "is_empty", None, True),
    ("data", {"a": None}, "is_empty", None, False),
    ("data.a", {"a": 1}, "=", 1.0, True),
    ("data.a", {"a": 1}, "=", "1", False),
    ("data.a", {"a": True}, "=", 1, False),
    ("data.a", {"a": False}, "=", 0, False),
    ("data.a", {"a": True}, "=", True, True),
    ("data.a", {"a": 2**53 + 1}, "=", 2**53, False),
    ("data.a", {"a": 0.1}, "=", 0.1, True),
    ("data.a", {"a": "x"}, "in", ["x", 1], True),
    ("data.a", {"a": 1}, "in", ["x", 1], True),
    ("data.a", {"a": True}, "in", ["x", 1], False),
    ("data.a", {}, "in", [None], True),
    ("data.a", {"a": None}, "is_null", None, True),
    ("data.a", {}, "is_null", None, True),
    ("data.a", None, "is_null", None, True),
    ("data.a", {"a": 0}, "is_null", None, False),
    ("data.a", {"a": ""}, "is_empty", None, True),
    ("data.a", {"a": 0}, "is_empty", None, False),
    ("data.a", {"a": False}, "is_empty", None, False),
    ("data.a", {"a": 2}, "<", 10, True),
    ("data.a", {"a": "2"}, "<", 10, False),
    ("data.a", {"a": "2"}, ">", "10", True),
    ("data.a", {"a": 2}, "<", "10", False),
    ("data.a", {"a": True}, "<", 2, False),
    ("data.a", {"a": [1]}, "<", 2, False),
    ("data.a", {"a": None}, "<", 2, False),
    ("data.a", {"a": 5}, "between", [1, 9], True),
    ("data.a", {"a": "5"}, "between", [1, 9], False),
    ("data.a", {"a": "abc"}, "contains", "b", True),
    ("data.a", {"a": 1}, "not_contains", "b", True),
    ("data.a", {"a": ["abc"]}, "contains", "b", False),
    ("data.a", {"a": 1}, "like", "%", False),
    ("data.a", {"a": "ABC"}, "ilike", "a%", True),
    ("data.a", {"a": ["x", 1]}, "contains_any", [1.0], True),
    ("data.a", {"a": ["x", 1]}, "contains_any", [True], False),
    ("data.a", {"a": "x"}, "contains_any", ["x"], False),
    ("data.a", {"a": [1, 2]}, "=", [1, 2], True),
    ("data.a", {"a": [1, 2]}, "=", 1, False),
    ("data.a.b", {"a": {"b": 1}}, "=", 1, True),
    ("data.a.b", {"a": {"c": 1}}, "=", 1, False),
    ("data.a.b", {"a": 5}, "=", None, True),
    ("data.a.b", {"a": [{"b": 1}, {"b": 2}]}, "=", 2, True),
    ("data.a.b", {"a": [{"b": 1}, {"c": 2}]}, "is_null", None, False),
    ("data.a.b", {"a": [{"b": 1}, {"b": None}]}, "is_null", None, True),
    ("data.a.b", {"a": [[{"b": 1}]]}, "is_null", None, True),
    ("data.a.b", {"a": []}, "is_null", None, True),
    ("data.A", {"a": 1}, "is_null", None, True),
    ("data.0", {"0": 1}, "=", 1, True),
    ("data", {"a": None}, "has_key", "a", True),
    ("data", {"a": 1}, "has_key", "A", False),
    ("data", {}, "has_key", "", False),
    ("data", None, "has_key", "a", False),
    ("data.a", {"a": ["b"]}, "has_key", "b", False),
    ("data", {"a": 1}, "has_any", ["x", "a"], True),
    ("data", {"a": 1}, "has_any", [], False),
    ("data", {"a": 1, "b": 1}, "has_all", ["a", "b"], True),
    ("data", {"a": 1}, "has_all", ["a", "b"], False),
    ("data", {}, "has_all", [], True),
    ("data", None, "has_all", [], False),
    ("data", {"a": {"b": None}}, "path_exists", "a.b", True),
    ("data", {"a": {"b": None}}, "path_exists", ["a", "c"], False),
    ("data", {"a": [{"b": 1}]}, "path_exists", ["a", "b"], True),
    ("data", {"a.b": 1}, "path_exists", ["a.b"], True),
    ("data", {"a.b": 1}, "path_exists", "a.b", False),
    ("data", None, "path_exists", "a", False),
    ("data", {"a": 1, "b": 2}, "json_contains", {"a": 1.0}, True),
    ("data", {"a": 1}, "json_contains", {}, True),
    ("data", {"a": 1}, "json_contains", {"a": True}, False),
    ("data", {"a": {"b": [1, 2]}}, "json_contains", {"a": {"b": [2]}}, True),
    ("data", {"a": [1, 2]}, "json_contains", {"a": 2}, False),
    ("data.a", {"a": [1, 2]}, "json_contains", 2, True),
    ("data.a", {"a": [[1], 2]}, "json_contains", [[1]], True),
    ("data.a", {"a": [[1], 2]}, "json_contains", [1], False),
    ("data", None, "json_contains", {}, False),
    ("data", {"a": 1}, "json_contained_by", {"a": 1, "b": 2}, True),
    ("data", {"c": 1}, "json_contained_by", {"a": 1}, False),
    ("data", {}, "json_contained_by", {}, True),
]

ADA, UNNAMED = Owner("Ada", {"city": "Rome"}), Owner(None)
PARTS = [Part("a", 1, {"x": 1}), Part(None, 5), Part("b", 9, {"x": None})]
PATHS = [
    ({"owner": ADA}, "owner.name", "=", "Ada", True),
    ({"owner": UNNAMED}, "owner.name", "is_null", None, True),
    ({"owner": None}, "owner.name", "is_null", None, True),
    ({"owner": None}, "owner.name", "=", "Ada", False),
    ({"owner": None}, "owner.name", "!=", "Ada", True),
    ({"owner": None}, "owner", "is_null", None, True),
    ({"owner": ADA}, "owner", "is_null", None, False),
    ({"owner": ADA}, "owner.home.city", "=", "Rome", True),
    ({"owner": ADA}, "owner.home.street", "is_null", None, True),
    ({"owner": UNNAMED}, "owner.home.city", "is_null", None, True),
    ({"owner": ADA}, "owner", "json_contains", {"home": {"city": "Rome"}}, True),
    ({"parts": PARTS}, "parts.code", "=", "b", True),
    ({"parts": PARTS}, "parts.code", "=", "c", False),
    ({"parts": PARTS}, "parts.code", "!=", "b", False),
    ({"parts": PARTS}, "parts.code", "!=", "c", True),
    ({"parts": PARTS}, "parts.code", "is_null", None, True),
    ({"parts": PARTS[:1]}, "parts.code", "is_null", None, False),
    ({"parts": []}, "parts.code", "is_null", None, True),
    ({"parts": []}, "parts.code", "=", "a", False),
    ({"parts": []}, "parts.code", "!=", "a", True),
    ({"parts": PARTS}, "parts.grams", "between", [4, 6], True),
    ({"parts": PARTS}, "parts.grams", "between", [6, 8], False),
    ({"parts": PARTS}, "parts.code", "in", ["x", "b"], True),
    ({"parts": PARTS}, "parts.notes.x", "=", 1, True),
    ({"parts": PARTS}, "parts.notes.x", "is_null", None, True),
    ({"parts": PARTS}, "parts.notes.y", "is_null", None, True),
    ({"parts": []}, "parts", "is_empty", None, True),
    ({"parts": []}, "parts", "is_null", None, False),
]

MEANINGS = [
    *((({"text": stored}), "text", *asked) for stored, *asked in TEXT + PATTERNS),
    *(({name: stored}, name, *asked) for name, stored, *asked in NUMBERS),
    *(({"tags": stored}, "tags", *asked) for stored, *asked in LISTS),
    *(({"data": stored}, path, *asked) for path, stored, *asked in DOCUMENTS),
    *PATHS,
]

DECLARED = [
    ("price", Decimal("1.50"), "=", "1.5", True),
    ("at", NOON, "=", NOON.astimezone(EAST), True),
    ("at", NOON.astimezone(EAST), "=", "2026-03-01T12:00:00Z", True),
    ("at", NOON, "in", [NOON.astimezone(EAST)], True),
    ("at", NOON, "<", (NOON + timedelta(microseconds=1)).astimezone(EAST), True),
    ("at", NOON, "between", [NOON.astimezone(EAST), NOON], True),
    ("at", None, "<", NOON, False),
    ("at", None, "in", [None, NOON], True),
    ("at", None, "=", None, True),
    ("at", FIRST, "=", FIRST, True),
    ("at", SECOND, "=", SECOND, True),
    ("at", FIRST, "=", SECOND, False),
    ("at", FIRST, "=", datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc), True),
    ("at", SECOND, "=", datetime(2026, 10, 25, 1, 30, tzinfo=timezone.utc), True),
    ("at", FIRST, "<", SECOND, True),
    ("at", SECOND, ">", FIRST, True),
    ("at", SECOND, "<=", FIRST, False),
    ("at", SECOND, "between", [FIRST, FIRST], False),
    ("at", SECOND, "in", [FIRST], False),
    ("at", SECOND, "in", [SECOND], True),
    ("day", date(2026, 3, 1), "<", "2026-03-02", True),
    ("day", date(2026, 3, 1), "=", date(2026, 3, 1), True),
    ("hour", time(9), "between", ["08:00", "10:00"], True),
    ("hour", None, "is_null", None, True),
    ("length", timedelta(days=9), "<", timedelta(days=10), True),
    ("length", timedelta(days=9), ">", "PT215H59M", True),
    ("length", timedelta(days=9), "=", "P9D", True),
    ("length", timedelta(days=1), "in", ["PT24H"], True),
    ("length", None, "<", timedelta(0), False),
    ("key", UUID(int=5), "=", str(UUID(int=5)), True),
    ("key", UUID(int=5), "<", UUID(int=6), True),
    ("key", UUID(int=5), "in", [str(UUID(int=5))], True),
    ("color", Color.RED, "=", "red", True),
    ("color", Color.RED, "in", [Color.RED, None], True),
    ("color", None, "in", ["red"], False),
    ("raw", b"\x00", "=", b"\x00", True),
    ("raw", b"\x00", "<", b"\x01", True),
    ("raw", b"", "is_null", None, False),
    ("is_on", False, "=", False, True),
    ("is_on", False, "<", True, True),
    ("is_on", None, "=", False, False),
    ("is_on", None, "!=", True, True),
]
