"""Declared fields of documents with their types, and the values of a document in these fields."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from datetime import MAXYEAR, MINYEAR, date, datetime, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import Enum
from functools import cache, cached_property
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator, core_schema

from cqrs_ddd_core.primitives.exceptions import ConcealedError, ConfigError

from ..exceptions import DocumentError
from ..ports.projections import DOC_ID, Fields

DOC = "doc"
"""Column that holds the whole document; a field cannot have this name."""
DOC_TENANT = "doc_tenant"
"""Column that holds the tenant of the document; a field cannot have this name."""
MAX_FIELD_NAME = 60
MAX_TEXT = 2_000
"""Bytes of a declared text at most; an index of PostgreSQL accepts about 2,700."""
MAX_DIGITS = 18

_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_FIELD_NAME - 1}}}")
_KINDS: tuple[type[Any], ...] = (str, int, float, bool, Decimal, datetime, date, UUID, dict, list)
_BY_NAME = {kind.__name__: kind for kind in _KINDS}
_TYPE_NAME = re.compile(r"(\w+)(?:\((\d+), (\d+)\))?")


@dataclass(frozen=True)
class DeclaredType:
    """Type that ``Fields`` declares for a field.

    Attributes:
        kind: Python type of the values.
        digits: digits of a decimal at most, 0 for other types.
        places: digits of a decimal after the point, 0 for other types.
    """

    kind: type[Any]
    digits: int = 0
    places: int = 0

    @property
    def is_json(self) -> bool:
        """True for JSON objects and lists, which have paths inside and no order."""
        return self.kind in (dict, list)

    @property
    def name(self) -> str:
        """Name of the type, for decimals with digits and places: ``Decimal(18, 6)``."""
        name = self.kind.__name__
        return f"{name}({self.digits}, {self.places})" if self.kind is Decimal else name

    @classmethod
    def parse(cls, name: str) -> DeclaredType:
        """Return the type with this ``name``."""
        found = _TYPE_NAME.fullmatch(name)
        assert found is not None, name
        kind, digits, places = found.groups()
        return cls(_BY_NAME[kind], int(digits or 0), int(places or 0))

    @cached_property
    def annotation(self) -> Any:
        """Annotation by which pydantic validates the values."""
        if self.kind is Decimal:
            return Annotated[Decimal, AfterValidator(_build_quantizer(self.digits, self.places))]
        return _ANNOTATIONS.get(self.kind, self.kind)


class DocumentFields(Mapping[str, DeclaredType]):
    """Declared fields of one collection, by name.

    Args:
        fields: names and types; by default none.

    Raises:
        ConfigError: a field cannot have this name or type.
    """

    def __init__(self, fields: Fields | None = None) -> None:
        self._types = {name: _parse_type(name, given) for name, given in (fields or {}).items()}
        _ensure_field_names(self._types)

    def __getitem__(self, name: str) -> DeclaredType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    @property
    def type_names(self) -> dict[str, str]:
        """Names of the types by field, in the form that ``parse`` reads."""
        return {name: each.name for name, each in self._types.items()}

    @classmethod
    def parse(cls, type_names: Mapping[str, str]) -> DocumentFields:
        """Return the fields for names of types in the form of ``type_names``."""
        fields = cls()
        fields._types = {name: DeclaredType.parse(each) for name, each in type_names.items()}
        return fields

    def extract_values(self, document: bytes, collection: str, doc_id: str) -> dict[str, Any]:
        """Return the value of each declared field, None for a missing one.

        Args:
            document: the document as JSON.
            collection: name of the collection, for the error.
            doc_id: id of the document, for the error.

        Raises:
            DocumentError: the value does not have the declared type.
        """
        try:
            values: dict[str, Any] = self._validator.validate_json(document, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)[0]
            name = str(next(iter(found["loc"]), ""))
            expected = f"{name} is {self[name].name}" if name in self else "it can be read"
            raise DocumentError(
                f"document {doc_id!r} does not fit {collection}, where {expected}: "
                f"{found['type']}; "
                "pass such a value, or declare another type",
                collection=collection,
                doc_id=doc_id,
                field=name,
            ) from ConcealedError(error)
        return values

    @cached_property
    def _validator(self) -> SchemaValidator:
        fields = {
            name: core_schema.typed_dict_field(
                core_schema.with_default_schema(
                    core_schema.nullable_schema(TypeAdapter(each.annotation).core_schema),
                    default=None,
                ),
                required=False,
            )
            for name, each in self._types.items()
        }
        return SchemaValidator(core_schema.typed_dict_schema(fields))


@cache
def derive_fields(result_type: object) -> Fields:
    """Return the fields of a model, dataclass or typed dictionary that can be declared.

    A nested object is declared as JSON, and an enumeration by the type of its values; fields with
    other types or names are left out.

    Args:
        result_type: class of the results; any other object has no fields.
    """
    derived: dict[str, object] = {}
    for name, annotation in _list_annotations(result_type).items():
        declared = {**derived, name: _simplify(annotation)}
        with suppress(ConfigError):
            DocumentFields(declared)
            derived = declared
    return derived


def _list_annotations(result_type: object) -> Mapping[str, object]:
    if not isinstance(result_type, type):
        return {}
    if issubclass(result_type, BaseModel):
        fields = result_type.model_fields.items()
        return {name: Annotated[field.annotation, field] for name, field in fields}
    if is_dataclass(result_type) or typing.is_typeddict(result_type):
        return typing.get_type_hints(result_type, include_extras=True)
    return {}


def _simplify(annotation: object) -> object:
    """Return the type of the JSON values: dict, list, or the type of an enumeration's values."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_simplify(parts[0]), *parts[1:])]
    if origin in (Union, UnionType):
        given = [part for part in parts if part is not type(None)]
        return _simplify(given[0]) if len(given) == 1 else annotation
    kind = origin or annotation
    values: Iterable[object] = parts if kind is Literal else ()
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            values = [each.value for each in kind]
        elif (
            issubclass(kind, (BaseModel, Mapping))
            or is_dataclass(kind)
            or typing.is_typeddict(kind)
        ):
            return dict
        elif issubclass(kind, (Sequence, Set)) and not issubclass(kind, (str, bytes)):
            return list
    kinds = {type(each) for each in values}
    return kinds.pop() if len(kinds) == 1 else annotation


def _build_quantizer(digits: int, places: int) -> Callable[[Decimal], Decimal]:
    """Return a function that raises ``ValueError`` for a decimal that a column would round."""
    unit = Decimal(1).scaleb(-places)
    context = Context(prec=digits, traps=[Inexact, InvalidOperation])

    def quantize(value: Decimal) -> Decimal:
        try:
            return value.quantize(unit, context=context)
        except (Inexact, InvalidOperation):
            raise ValueError(
                f"{value} has more than {digits} digits, or more than {places} after the point"
            ) from None

    return quantize


def _ensure_finite(value: datetime) -> datetime:
    # Fast path: only the first and the last year can be out of range in UTC.
    if value.year in (MINYEAR, MAXYEAR):
        try:
            instant = value.astimezone(timezone.utc).replace(tzinfo=None)
        except OverflowError:
            raise ValueError(f"{value.isoformat()} is out of range in UTC") from None
        if instant in (datetime.min, datetime.max):
            raise ValueError(f"{value.isoformat()} stands for infinity")
    return value


def _ensure_short(value: str) -> str:
    if len(value) * 4 > MAX_TEXT and len(value.encode()) > MAX_TEXT:
        raise ValueError(f"a declared text has {MAX_TEXT:,} bytes at most, this text has more")
    return value


_ANNOTATIONS: dict[type[Any], Any] = {
    str: Annotated[str, AfterValidator(_ensure_short)],
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    float: Annotated[float, Field(allow_inf_nan=False)],
    datetime: Annotated[AwareDatetime, AfterValidator(_ensure_finite)],
}


def _parse_type(name: str, given: object) -> DeclaredType:
    annotation, digits, places = given, None, None
    while (origin := get_origin(annotation)) in (Annotated, Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if origin is not Annotated and len(parts) != 1:
            break
        annotation, *notes = parts
        for note in notes:
            for each in note.metadata if isinstance(note, FieldInfo) else [note]:
                digits = getattr(each, "max_digits", None) or digits
                given_places = getattr(each, "decimal_places", None)
                places = places if given_places is None else given_places
    kind = get_origin(annotation) or annotation
    if kind is Decimal:
        return _parse_decimal(name, digits, places)
    if not isinstance(kind, type) or kind not in _KINDS:
        raise ConfigError(
            f"the field {name} is declared as {given!r}; use one of {', '.join(_BY_NAME)}"
        )
    return DeclaredType(kind)


def _parse_decimal(name: str, digits: int | None, places: int | None) -> DeclaredType:
    digits, places = digits or MAX_DIGITS, 6 if places is None else places
    if not 0 <= places <= digits <= MAX_DIGITS:
        raise ConfigError(
            f"the field {name} is a decimal of {digits} digits, {places} of them after the point; "
            f"it can have {MAX_DIGITS} at most"
        )
    return DeclaredType(Decimal, digits, places)


def _ensure_field_names(names: Mapping[str, object]) -> None:
    seen: dict[str, str] = {DOC: "", DOC_ID: "", DOC_TENANT: ""}
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be a declared field; begin the name with a letter, and use "
                f"letters, digits and underscores, {MAX_FIELD_NAME} at most"
            )
        if name.lower() in seen:  # SQLite ignores the case of column names.
            other = seen[name.lower()]
            raise ConfigError(
                f"{name!r} and {other!r} cannot both be declared fields; rename one of them"
                if other
                else f"{name!r} is reserved and cannot be a declared field; rename the field"
            )
        seen[name.lower()] = name
