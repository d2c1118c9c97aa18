"""Table of the operators: their spellings, the operands they take and their meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, SupportsIndex

from cqrs_ddd_core.primitives.exceptions import ConfigError

from .exceptions import UnknownOperatorError
from .field_types import Kind


class Takes(Enum):
    """Shape of the operand that an operator takes."""

    NOTHING = "nothing"
    VALUE = "a value"
    LIST = "a list"
    RANGE = "a pair: lowest and highest"
    TEXT = "text"
    PATTERN = "a pattern: % matches any text, _ one character, \\ escapes the next character"
    REGEX = "a regular expression"
    KEY = "a key"
    KEYS = "a list of keys"
    PATH = "a list of keys, or a dotted path"
    DOCUMENT = "JSON"


@dataclass(frozen=True, eq=False)
class Operator:
    """Operator of a condition.

    To add an operator, build it with ``memory`` and ``sql`` and pass it to
    ``OPERATORS.register``. The two functions are never called for None: None satisfies such an
    operator only if it has a ``complement``.

    Args:
        name: the canonical spelling, which is written to JSON.
        takes: the shape of the operand.
        meaning: a description for the reference.
        spellings: further spellings; case, blanks and hyphens do not matter.
        kinds: the kinds of fields to which it applies; an empty set stands for all kinds, and the
            operand is then not coerced.
        complement: the operator of which this one is the exact opposite, for None as well.
        portable: True if it means the same in every backend. A caller must pass any other operator
            itself, since its spellings are not looked up.
        memory: decides about the value of a field and the operand.
        sql: returns the same decision as a SQLAlchemy expression of a column and the operand.
    """

    name: str
    takes: Takes
    meaning: str
    spellings: tuple[str, ...] = ()
    kinds: frozenset[Kind] = frozenset()
    complement: Operator | None = None
    portable: bool = True
    memory: Callable[[Any, Any], bool] | None = None
    sql: Callable[[Any, Any], Any] | None = None

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def __deepcopy__(self, memo: dict[int, object]) -> Operator:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        # Unpickling a registered operator returns the registered instance.
        if self in OPERATORS:
            return _get_registered, (self.name,)
        return super().__reduce_ex__(protocol)


def normalize_name(spelling: str) -> str:
    """Return a spelling in lower case, with blanks and hyphens as underscores."""
    return re.sub(r"[\s_-]+", "_", spelling.strip().lower())


class OperatorTable:
    """Operators by spelling, ignoring case, blanks and hyphens."""

    def __init__(self) -> None:
        self._by_spelling: dict[str, Operator] = {}

    def register(self, operator: Operator) -> Operator:
        """Add an operator and return it.

        Raises:
            ConfigError: another operator has one of its spellings.
        """
        spellings = [normalize_name(each) for each in (operator.name, *operator.spellings)]
        for spelling in spellings:
            if spelling in self._by_spelling:
                raise ConfigError(
                    f"{spelling!r} is already a spelling of {self._by_spelling[spelling]!r}; "
                    "choose another spelling"
                )
        self._by_spelling.update(dict.fromkeys(spellings, operator))
        return operator

    def find(self, spelling: str | Operator) -> Operator:
        """Return the portable operator with this spelling; an operator is returned as it is.

        Raises:
            UnknownOperatorError: no operator has this spelling, or it is not portable.
        """
        if isinstance(spelling, Operator):
            return spelling
        found = self._by_spelling.get(normalize_name(str(spelling)))
        if found is None:
            known = [name for name, operator in self._by_spelling.items() if operator.portable]
            raise UnknownOperatorError(spelling, known)
        if not found.portable:
            raise UnknownOperatorError(
                spelling,
                advice=f"{found.name} differs between databases and cannot be looked up by name; "
                "pass the operator itself, from cqrs_ddd_specifications.operators",
            )
        return found

    def __iter__(self) -> Iterator[Operator]:
        return iter(dict.fromkeys(self._by_spelling.values()))

    def __contains__(self, operator: object) -> bool:
        return operator in self._by_spelling.values()

    def __getitem__(self, spelling: str) -> Operator:
        """Return an operator by any spelling, portable or not."""
        return self._by_spelling[normalize_name(spelling)]


OPERATORS = OperatorTable()
"""All operators; an application registers its own operators here."""


def _get_registered(name: str) -> Operator:
    return OPERATORS[name]


def _add(
    spellings: str, takes: Takes, kinds: frozenset[Kind], meaning: str, *, portable: bool = True
) -> Operator:
    name, *others = spellings.split()
    operator = Operator(name, takes, meaning, tuple(others), kinds, portable=portable)
    return OPERATORS.register(operator)


def _add_complement(spellings: str, of: Operator) -> Operator:
    name, *others = spellings.split()
    meaning = f"the exact opposite of `{of.name}`, also for None"
    return OPERATORS.register(Operator(name, of.takes, meaning, tuple(others), of.kinds, of))


_EVERY = frozenset(Kind)
_ALL = _EVERY - {Kind.OTHER}
_ORDERED = _ALL - {Kind.ENUM, Kind.ARRAY}
_SCALARS = _ALL - {Kind.ARRAY}
_TEXT = frozenset({Kind.TEXT})
_DOCUMENTS = frozenset({Kind.JSON, Kind.ANY})
_TEXTS = _TEXT | _DOCUMENTS
_ARRAYS = _DOCUMENTS | {Kind.ARRAY}
_SIZED = _TEXTS | _ARRAYS
_CASELESS = ", but A to Z are equal to a to z; the case of other letters matters"

# fmt: off
EQ = _add("= == eq equal equals", Takes.VALUE, _ALL,
          "the same value: numbers by size, text by character, times by instant; None equals None")
NE = _add_complement("!= <> ne neq not_equal not_equals", EQ)
LT = _add("< lt less_than", Takes.VALUE, _ORDERED, "less; text is ordered by code point")
LE = _add("<= le lte less_than_or_equal", Takes.VALUE, _ORDERED, "less or equal")
GT = _add("> gt greater_than", Takes.VALUE, _ORDERED, "greater; text is ordered by code point")
GE = _add(">= ge gte greater_than_or_equal", Takes.VALUE, _ORDERED, "greater or equal")
IN = _add("in is_in one_of any_of", Takes.LIST, _SCALARS,
          "equal (`=`) to an item of the list; an empty list has no items")
NOT_IN = _add_complement("not_in notin nin none_of", IN)
BETWEEN = _add("between range", Takes.RANGE, _ORDERED, "`>=` lowest and `<=` highest")
NOT_BETWEEN = _add_complement("not_between notbetween not_in_range", BETWEEN)
IS_NULL = _add("is_null isnull null is_none", Takes.NOTHING, _EVERY,
               "None, JSON null, or a missing value")
IS_NOT_NULL = _add_complement("is_not_null isnotnull not_null notnull is_not_none", IS_NULL)
IS_EMPTY = _add("is_empty isempty empty", Takes.NOTHING, _SIZED,
                "as `is_null`, or an empty text, list or object")
IS_NOT_EMPTY = _add_complement("is_not_empty isnotempty not_empty", IS_EMPTY)

LIKE = _add("like", Takes.PATTERN, _TEXTS, "the whole text matches the pattern")
ILIKE = _add("ilike", Takes.PATTERN, _TEXTS, f"as `like`{_CASELESS}")
CONTAINS = _add("contains includes", Takes.TEXT, _TEXTS,
                "the given text occurs in it; the empty text occurs in every text")
ICONTAINS = _add("icontains", Takes.TEXT, _TEXTS, f"as `contains`{_CASELESS}")
STARTSWITH = _add("startswith starts_with", Takes.TEXT, _TEXTS, "begins with the given text")
ISTARTSWITH = _add("istartswith istarts_with", Takes.TEXT, _TEXTS, f"as `startswith`{_CASELESS}")
ENDSWITH = _add("endswith ends_with", Takes.TEXT, _TEXTS, "ends with the given text")
IENDSWITH = _add("iendswith iends_with", Takes.TEXT, _TEXTS, f"as `endswith`{_CASELESS}")
NOT_LIKE = _add_complement("not_like notlike", LIKE)
NOT_ILIKE = _add_complement("not_ilike notilike", ILIKE)
NOT_CONTAINS = _add_complement("not_contains notcontains excludes", CONTAINS)
NOT_ICONTAINS = _add_complement("not_icontains noticontains", ICONTAINS)
NOT_STARTSWITH = _add_complement("not_startswith not_starts_with", STARTSWITH)
NOT_ISTARTSWITH = _add_complement("not_istartswith not_istarts_with", ISTARTSWITH)
NOT_ENDSWITH = _add_complement("not_endswith not_ends_with", ENDSWITH)
NOT_IENDSWITH = _add_complement("not_iendswith not_iends_with", IENDSWITH)

CONTAINS_ANY = _add("contains_any array_contains_any overlaps has_any_of", Takes.LIST, _ARRAYS,
                    "a list with at least one of the given values")
CONTAINS_ALL = _add("contains_all array_contains_all has_all_of", Takes.LIST, _ARRAYS,
                    "a list with every given value; every list contains an empty one")

HAS_KEY = _add("has_key json_has_key", Takes.KEY, _DOCUMENTS,
               "a JSON object with this key, even if its value is null")
HAS_ANY = _add("has_any has_any_key has_any_keys json_has_any", Takes.KEYS, _DOCUMENTS,
               "a JSON object with at least one of the keys")
HAS_ALL = _add("has_all has_all_keys json_has_all", Takes.KEYS, _DOCUMENTS,
               "a JSON object with all of the keys")
JSON_CONTAINS = _add("json_contains", Takes.DOCUMENT, _ARRAYS,
    "an object contains another if it has every key of it with a value that contains the other "
    "value; a list contains another if each of its elements is contained in an element, and "
    "contains a plain value that is an element; any other value contains an equal value")
JSON_CONTAINED_BY = _add("json_contained_by contained_by", Takes.DOCUMENT, _ARRAYS,
                         "is not null, and the given JSON contains it as in `json_contains`")
PATH_EXISTS = _add("path_exists json_path_exists has_path", Takes.PATH, _DOCUMENTS,
                   "the path of keys exists, even if it leads to null; lists on it are searched")

REGEX = _add("regex matches ~", Takes.REGEX, _TEXT,
    "the expression matches a part of the text; PostgreSQL uses its own dialect, memory and SQLite "
    "use Python's", portable=False)
IREGEX = _add("iregex imatches ~*", Takes.REGEX, _TEXT, "as `regex`, ignoring case", portable=False)
FTS = _add("fts search", Takes.TEXT, _TEXT,
           "PostgreSQL only: the text has all the words, compared by stem", portable=False)
FTS_PHRASE = _add("fts_phrase search_phrase", Takes.TEXT, _TEXT,
           "PostgreSQL only: the text has the words in this sequence", portable=False)
# fmt: on
