"""Declared fields of documents: their types, and the values that a document has in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, date, datetime, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator, core_schema

from cqrs_ddd_core.primitives.exceptions import ConfigError

from ..exceptions import DocumentError
from ..ports.projections import DOC_ID, Fields

DOC = "doc"
"""The column of the whole document, so no field can have the name."""
MAX_FIELD_NAME = 60
MAX_TEXT = 2_000
"""Bytes of a declared text: an index of PostgreSQL takes no more than about 2,700."""
MAX_DIGITS = 18

_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_FIELD_NAME - 1}}}")
_KINDS: tuple[type[Any], ...] = (str, int, float, bool, Decimal, datetime, date, UUID, dict, list)
_BY_NAME = {kind.__name__: kind for kind in _KINDS}
_WRITTEN = re.compile(r"(\w+)(?:\((\d+), (\d+)\))?")


@dataclass(frozen=True)
class DeclaredType:
    """Type that ``Fields`` declares for a field; ``digits`` and ``places`` belong to decimals."""

    kind: type[Any]
    digits: int = 0
    places: int = 0

    @property
    def is_json(self) -> bool:
        """Whether it can be asked into, and has no order."""
        return self.kind in (dict, list)

    @property
    def written(self) -> str:
        """``Decimal(18, 6)``, or the name alone."""
        name = self.kind.__name__
        return f"{name}({self.digits}, {self.places})" if self.kind is Decimal else name

    @classmethod
    def read(cls, written: str) -> DeclaredType:
        found = _WRITTEN.fullmatch(written)
        assert found is not None, written
        name, digits, places = found.groups()
        return cls(_BY_NAME[name], int(digits or 0), int(places or 0))

    @cached_property
    def annotation(self) -> Any:
        if self.kind is Decimal:
            return Annotated[Decimal, AfterValidator(_exactly(self.digits, self.places))]
        return _ANNOTATIONS.get(self.kind, self.kind)


class DocumentFields(Mapping[str, DeclaredType]):
    """The fields of one collection, by name; raises ``ConfigError`` for what cannot be one."""

    def __init__(self, fields: Fields | None = None) -> None:
        self._types = {name: _type_of(name, given) for name, given in (fields or {}).items()}
        _ensure_names(self._types)

    def __getitem__(self, name: str) -> DeclaredType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    @property
    def written(self) -> dict[str, str]:
        """What ``read`` takes, and JSON keeps."""
        return {name: each.written for name, each in self._types.items()}

    @classmethod
    def read(cls, written: Mapping[str, str]) -> DocumentFields:
        fields = cls()
        fields._types = {name: DeclaredType.read(each) for name, each in written.items()}
        return fields

    def values_in(self, document: bytes, collection: str, doc_id: str) -> dict[str, Any]:
        """Of each field, None for one that is missing; raises ``DocumentError``."""
        try:
            values: dict[str, Any] = self._validator.validate_json(document, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)[0]
            name = str(next(iter(found["loc"]), ""))
            expected = f"{name} is {self[name].written}" if name in self else "it can be read"
            raise DocumentError(
                f"{doc_id!r} in {collection} does not fit, where {expected}: {found['msg']}; "
                "give it such a value, or declare another type",
                collection=collection,
                doc_id=doc_id,
                field=name,
            ) from error
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


def _exactly(digits: int, places: int) -> Callable[[Decimal], Decimal]:
    """A decimal that a column of so many digits holds without rounding."""
    unit, context = (
        Decimal(1).scaleb(-places),
        Context(prec=digits, traps=[Inexact, InvalidOperation]),
    )

    def exact(value: Decimal) -> Decimal:
        try:
            return value.quantize(unit, context=context)
        except (Inexact, InvalidOperation):
            raise ValueError(
                f"{value} has not {digits} digits, {places} of them after the point"
            ) from None

    return exact


def _finite(value: datetime) -> datetime:
    # Asked of all, so the edges of time are sorted out by the year.
    if value.year in (MINYEAR, MAXYEAR):
        try:
            instant = value.astimezone(timezone.utc).replace(tzinfo=None)
        except OverflowError:
            raise ValueError(f"{value.isoformat()} is out of range in UTC") from None
        if instant in (datetime.min, datetime.max):
            raise ValueError(f"{value.isoformat()} stands for infinity")
    return value


def _short(value: str) -> str:
    if len(value) * 4 > MAX_TEXT and len(value.encode()) > MAX_TEXT:
        raise ValueError(f"a declared text has {MAX_TEXT:,} bytes at most, this one has more")
    return value


_ANNOTATIONS: dict[type[Any], Any] = {
    str: Annotated[str, AfterValidator(_short)],
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    float: Annotated[float, Field(allow_inf_nan=False)],
    datetime: Annotated[AwareDatetime, AfterValidator(_finite)],
}


def _type_of(name: str, given: Any) -> DeclaredType:
    annotation, digits, places = given, None, None
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *notes = get_args(annotation)
            for note in notes:
                for each in note.metadata if isinstance(note, FieldInfo) else [note]:
                    digits = getattr(each, "max_digits", None) or digits
                    given_places = getattr(each, "decimal_places", None)
                    places = places if given_places is None else given_places
        elif origin in (Union, UnionType):
            others = [part for part in get_args(annotation) if part is not type(None)]
            if len(others) != 1:
                break
            annotation = others[0]
        else:
            annotation = origin or annotation
            break
    if annotation is Decimal:
        return _decimal(name, digits, places)
    if annotation not in _KINDS:
        raise ConfigError(
            f"the field {name} is declared as {given!r}; a field is one of {', '.join(_BY_NAME)}"
        )
    return DeclaredType(annotation)


def _decimal(name: str, digits: int | None, places: int | None) -> DeclaredType:
    digits, places = digits or MAX_DIGITS, 6 if places is None else places
    if not 0 <= places <= digits <= MAX_DIGITS:
        raise ConfigError(
            f"the field {name} is a decimal of {digits} digits, {places} of them after the point; "
            f"it can have {MAX_DIGITS} at most"
        )
    return DeclaredType(Decimal, digits, places)


def _ensure_names(names: Mapping[str, object]) -> None:
    seen: dict[str, str] = {DOC: "", DOC_ID: ""}
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be a declared field; its name begins with a letter and has "
                f"letters, digits and underscores, {MAX_FIELD_NAME} at most"
            )
        if name.lower() in seen:  # SQLite does not tell cases apart.
            other = seen[name.lower()]
            raise ConfigError(
                f"{name!r} cannot be a declared field beside {other!r}; rename one of them"
                if other
                else f"{name!r} cannot be a declared field, {DOC} and {DOC_ID} are taken; rename it"
            )
        seen[name.lower()] = name
