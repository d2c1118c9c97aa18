"""The operators: how they are spelled, what they take and what they mean. The only list of them."""

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
    """The shape of the value that an operator is given."""

    NOTHING = "nothing"
    VALUE = "a value"
    LIST = "a list"
    RANGE = "a pair, lowest and highest"
    TEXT = "text"
    PATTERN = "a pattern: % is any text, _ any character, \\ takes the next one as it is"
    REGEX = "a regular expression"
    KEY = "a key"
    KEYS = "a list of keys"
    PATH = "a list of keys, or one text with dots"
    DOCUMENT = "JSON"


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator.

    To add one, make it with ``memory`` and ``sql`` and give it to ``OPERATORS.register``; it then
    is never asked about None, which satisfies it only as ``complement``.

    Args:
        complement: what it is the exact opposite of, for None as well.
        kinds: of fields that it is for; empty means any, with the value taken as it is.
        portable: means the same in every world. Others are never found by their names: who wants
            them passes the operator itself.
        memory: whether the value of a field and the given value satisfy it.
        sql: the same as a SQLAlchemy expression, of a column and the given value.
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Operator:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        # One of the table is the same one again, wherever it is loaded.
        return (_named, (self.name,)) if self in OPERATORS else super().__reduce_ex__(protocol)


def normal(spelling: str) -> str:
    """A spelling as it is looked up."""
    return re.sub(r"[\s_-]+", "_", spelling.strip().lower())


class OperatorTable:
    """Every operator by every spelling; letters' case, blanks and hyphens do not matter."""

    def __init__(self) -> None:
        self._by_spelling: dict[str, Operator] = {}

    def register(self, operator: Operator) -> Operator:
        """Raises ``ConfigError`` where another operator is spelled so."""
        spellings = [normal(spelling) for spelling in (operator.name, *operator.spellings)]
        for spelling in spellings:
            if spelling in self._by_spelling:
                raise ConfigError(
                    f"{spelling!r} is a spelling of {self._by_spelling[spelling]!r} already; "
                    "take another"
                )
        self._by_spelling.update(dict.fromkeys(spellings, operator))
        return operator

    def find(self, spelling: str | Operator) -> Operator:
        """Raises ``UnknownOperatorError``, also for the name of one that is not portable."""
        if isinstance(spelling, Operator):
            return spelling
        found = self._by_spelling.get(normal(str(spelling)))
        if found is None:
            known = [name for name, operator in self._by_spelling.items() if operator.portable]
            raise UnknownOperatorError(spelling, known)
        if not found.portable:
            raise UnknownOperatorError(
                spelling,
                advice=f"{found.name} differs from database to database, so it is not found by "
                "name; pass the operator itself, from cqrs_ddd_specifications.operators",
            )
        return found

    def __iter__(self) -> Iterator[Operator]:
        return iter(dict.fromkeys(self._by_spelling.values()))

    def __contains__(self, operator: object) -> bool:
        return operator in self._by_spelling.values()

    def named(self, name: str) -> Operator:
        return self._by_spelling[normal(name)]


OPERATORS = OperatorTable()

_ALL = frozenset(Kind)
_ORDERED = _ALL - {Kind.ENUM, Kind.ARRAY}
_SCALARS = _ALL - {Kind.ARRAY}
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.ANY})
_SIZED = _TEXTS | {Kind.ARRAY}
_ARRAYS = frozenset({Kind.ARRAY, Kind.JSON, Kind.ANY})
_DOCUMENTS = frozenset({Kind.JSON, Kind.ANY})


def _add(
    name: str,
    *spellings: str,
    takes: Takes,
    meaning: str = "",
    kinds: frozenset[Kind] = frozenset(),
    complement: Operator | None = None,
    portable: bool = True,
) -> Operator:
    if complement is not None:
        meaning, kinds = f"exactly when `{complement.name}` is not", complement.kinds
    return OPERATORS.register(
        Operator(name, takes, meaning, spellings, kinds, complement, portable)
    )


EQ = _add(
    *("=", "==", "eq", "equal", "equals"),
    takes=Takes.VALUE,
    kinds=_ALL,
    meaning="the same value; numbers by size, text by character, times by instant; None is the "
    "same as None",
)
NE = _add("!=", "<>", "ne", "neq", "not_equal", "not_equals", takes=Takes.VALUE, complement=EQ)
LT = _add(
    "<", "lt", "less_than", takes=Takes.VALUE, kinds=_ORDERED, meaning="less; text by code point"
)
LE = _add(
    *("<=", "le", "lte", "less_than_or_equal"),
    takes=Takes.VALUE,
    kinds=_ORDERED,
    meaning="less, or the same",
)
GT = _add(
    ">",
    "gt",
    "greater_than",
    takes=Takes.VALUE,
    kinds=_ORDERED,
    meaning="greater; text by code point",
)
GE = _add(
    *(">=", "ge", "gte", "greater_than_or_equal"),
    takes=Takes.VALUE,
    kinds=_ORDERED,
    meaning="greater, or the same",
)
IN = _add(
    *("in", "one_of", "any_of"),
    takes=Takes.LIST,
    kinds=_SCALARS,
    meaning="`=` to one of the list; an empty list holds nothing",
)
NOT_IN = _add("not_in", "notin", "nin", "none_of", takes=Takes.LIST, complement=IN)
BETWEEN = _add(
    *("between", "range"),
    takes=Takes.RANGE,
    kinds=_ORDERED,
    meaning="`>=` the lowest and `<=` the highest",
)
NOT_BETWEEN = _add(
    "not_between", "notbetween", "not_in_range", takes=Takes.RANGE, complement=BETWEEN
)
IS_NULL = _add(
    *("is_null", "isnull", "null", "is_none"),
    takes=Takes.NOTHING,
    kinds=_ALL,
    meaning="None, or JSON's null, or nothing is there",
)
IS_NOT_NULL = _add(
    *("is_not_null", "isnotnull", "not_null", "notnull", "is_not_none"),
    takes=Takes.NOTHING,
    complement=IS_NULL,
)
IS_EMPTY = _add(
    *("is_empty", "isempty", "empty"),
    takes=Takes.NOTHING,
    kinds=_SIZED,
    meaning="as `is_null`, or a text, a list or an object with nothing in it",
)
IS_NOT_EMPTY = _add(
    "is_not_empty", "isnotempty", "not_empty", takes=Takes.NOTHING, complement=IS_EMPTY
)

_CASELESS = "; A to Z are the same as a to z, other letters are not folded"
LIKE = _add(
    "like", takes=Takes.PATTERN, kinds=_TEXTS, meaning="the whole text has the form of the pattern"
)
ILIKE = _add("ilike", takes=Takes.PATTERN, kinds=_TEXTS, meaning=f"as `like`{_CASELESS}")
CONTAINS = _add(
    *("contains", "includes"),
    takes=Takes.TEXT,
    kinds=_TEXTS,
    meaning="the given text is somewhere in it; the empty text is in every text",
)
ICONTAINS = _add("icontains", takes=Takes.TEXT, kinds=_TEXTS, meaning=f"as `contains`{_CASELESS}")
STARTSWITH = _add(
    *("startswith", "starts_with"),
    takes=Takes.TEXT,
    kinds=_TEXTS,
    meaning="begins with the given text",
)
ISTARTSWITH = _add(
    *("istartswith", "istarts_with"),
    takes=Takes.TEXT,
    kinds=_TEXTS,
    meaning=f"as `startswith`{_CASELESS}",
)
ENDSWITH = _add(
    *("endswith", "ends_with"), takes=Takes.TEXT, kinds=_TEXTS, meaning="ends with the given text"
)
IENDSWITH = _add(
    *("iendswith", "iends_with"),
    takes=Takes.TEXT,
    kinds=_TEXTS,
    meaning=f"as `endswith`{_CASELESS}",
)

CONTAINS_ANY = _add(
    *("contains_any", "array_contains_any", "overlaps", "has_any_of"),
    takes=Takes.LIST,
    kinds=_ARRAYS,
    meaning="a list with at least one of the given values",
)
CONTAINS_ALL = _add(
    *("contains_all", "array_contains_all", "has_all_of"),
    takes=Takes.LIST,
    kinds=_ARRAYS,
    meaning="a list with every one of the given values; every list contains an empty one",
)

HAS_KEY = _add(
    *("has_key", "json_has_key"),
    takes=Takes.KEY,
    kinds=_DOCUMENTS,
    meaning="a JSON object with this key, whatever is under it",
)
HAS_ANY = _add(
    *("has_any", "has_any_key", "has_any_keys", "json_has_any"),
    takes=Takes.KEYS,
    kinds=_DOCUMENTS,
    meaning="a JSON object with at least one of the keys",
)
HAS_ALL = _add(
    *("has_all", "has_all_keys", "json_has_all"),
    takes=Takes.KEYS,
    kinds=_DOCUMENTS,
    meaning="a JSON object with every one of the keys",
)
JSON_CONTAINS = _add(
    *("json_contains",),
    takes=Takes.DOCUMENT,
    kinds=_DOCUMENTS | {Kind.ARRAY},
    meaning="holds the given JSON: an object its keys with values that hold theirs, a list "
    "elements that hold each of the given ones or the one that is given alone, anything else the "
    "same value",
)
JSON_CONTAINED_BY = _add(
    *("json_contained_by", "contained_by"),
    takes=Takes.DOCUMENT,
    kinds=_DOCUMENTS | {Kind.ARRAY},
    meaning="is not null, and the given JSON holds it, as in `json_contains`",
)
PATH_EXISTS = _add(
    *("path_exists", "json_path_exists", "has_path"),
    takes=Takes.PATH,
    kinds=_DOCUMENTS,
    meaning="something is at the path of keys, be it null; a list on the way is searched",
)

REGEX = _add(
    *("regex", "matches", "~"),
    takes=Takes.REGEX,
    kinds=frozenset({Kind.TEXT}),
    portable=False,
    meaning="the expression is found in the text; PostgreSQL reads its own dialect, memory and "
    "SQLite read Python's",
)
IREGEX = _add(
    *("iregex", "imatches", "~*"),
    takes=Takes.REGEX,
    kinds=frozenset({Kind.TEXT}),
    portable=False,
    meaning="as `regex`, whatever the case",
)
FTS = _add(
    *("fts", "search"),
    takes=Takes.TEXT,
    kinds=frozenset({Kind.TEXT}),
    portable=False,
    meaning="PostgreSQL only: the text has all the words, in their basic forms",
)
FTS_PHRASE = _add(
    *("fts_phrase", "search_phrase"),
    takes=Takes.TEXT,
    kinds=frozenset({Kind.TEXT}),
    portable=False,
    meaning="PostgreSQL only: the text has the words one after the other",
)


def _named(name: str) -> Operator:
    return OPERATORS.named(name)
