"""Check of a pydantic schema: which fields JSON keeps, loses, or keeps only for some values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Flag
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import pydantic

Schema = Mapping[str, Any]
"""Core schema of pydantic, or a part of it."""
Guard = Callable[[Any], bool]
"""Function that returns True for values that JSON certainly keeps."""

F = TypeVar("F", bound=Callable[..., Any])

SECRETS = (pydantic.Secret, pydantic.SecretBytes, pydantic.SecretStr)

_KEPT = frozenset({"none", "bool", "int", "str", "date", "timedelta", "uuid", "decimal"})
_CLASSES: Mapping[str, type] = {
    "bool": bool,
    "int": int,
    "str": str,
    "float": float,
    "decimal": Decimal,
    "uuid": UUID,
    "date": date,
    "datetime": datetime,
    "time": time,
    "timedelta": timedelta,
}
"""Classes of the values without parts, by the kind of their schema."""
_COLLECTIONS = frozenset({"list", "set", "frozenset"})
_VALIDATORS = ("function-after", "function-before", "function-wrap")
_MARK = "__only_checks__"
_CHANGED_BY_CONFIG = ("ser_json_", "val_", "allow_inf_nan")


def find_lost_fields(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the dotted path of each field that JSON never keeps, with the reason."""
    definitions = _list_definitions(schema)
    yield from _find_lost(schema, "", definitions, set())


class FieldCheck(NamedTuple):
    """Result of the check of a schema.

    Attributes:
        is_kept: returns True for values that JSON keeps; it may return False for others of these,
            and raises for a value that is not of its type.
        is_plain: whether each kind is read in the python mode of pydantic as in its JSON mode.
        is_complete: whether ``is_kept`` also finds values that pydantic has not validated.
    """

    is_kept: Guard
    is_plain: bool
    is_complete: bool


def check_fields(schema: Schema, *, exclude: frozenset[str] = frozenset()) -> FieldCheck:
    """Check for which values JSON certainly keeps each field.

    Args:
        schema: core schema of the type.
        exclude: fields of the outermost model that are not part of the JSON form.
    """
    builder = _GuardBuilder(_list_definitions(schema), exclude)
    guard = builder.build(schema) or _accept
    classes = _list_classes(schema, exclude)
    if not classes:
        return FieldCheck(guard, builder.is_plain, is_complete=False)

    def is_kept(value: Any) -> bool:
        values = value.__dict__
        for name, allowed in classes:
            if values[name].__class__ not in allowed:
                return False
        return guard(value)

    return FieldCheck(is_kept, builder.is_plain, is_complete=True)


def _list_classes(schema: Schema, exclude: frozenset[str]) -> list[tuple[str, frozenset[type]]]:
    """Return the classes of the values of each field; nothing if a value may have parts."""
    fields = _iterate_fields(schema.get("schema", schema))
    found = [(name, _find_classes(field)) for name, field in fields if name not in exclude]
    return found if all(classes for _, classes in found) else []


def _find_classes(schema: Schema) -> frozenset[type]:
    kind = schema["type"]
    if kind in ("model-field", "default"):
        return _find_classes(schema["schema"])
    if kind == "nullable":
        inner = _find_classes(schema["schema"])
        return inner and inner | {type(None)}
    return frozenset({_CLASSES[kind]} if kind in _CLASSES else ())


def only_checks(validator: F) -> F:
    """Mark a validator that returns each value unchanged, or raises."""
    setattr(validator, _MARK, True)
    return validator


def has_fixed_offset(zone: tzinfo | None) -> bool:
    """Return whether JSON keeps a time zone: an offset in minutes that never changes."""
    if zone is None:
        return True
    offset = zone.utcoffset(None)
    return offset is not None and offset.seconds % 60 == 0 and not offset.microseconds


def _list_definitions(schema: Schema) -> dict[str, Schema]:
    return {each["ref"]: each for each in schema.get("definitions", ())}


def _find_lost(
    schema: Schema, path: str, definitions: Mapping[str, Schema], seen: set[str]
) -> Iterator[tuple[str, str]]:
    kind = schema.get("type")
    if kind == "definition-ref":
        reference = schema["schema_ref"]
        if reference not in seen:
            seen.add(reference)
            yield from _find_lost(definitions[reference], path, definitions, seen)
        return
    if _is_secret(schema):
        yield path, "is a secret, which JSON masks; use a type that is none, or leave it out"
        return
    if schema.get("serialization_exclude"):
        yield path, "has exclude=True, so JSON leaves it out; declare it without"
        return
    fields = dict(_iterate_fields(schema))
    yield from _find_alias_conflicts(fields, path)
    for name, field in fields.items():
        found = _find_lost(field, f"{path}.{name}" if path else name, definitions, seen)
        yield from dict.fromkeys(found)
    for part in _iterate_parts(schema, fields):
        yield from _find_lost(part, path, definitions, seen)


def _is_secret(schema: Schema) -> bool:
    if schema.get("type") == "is-instance":
        return isinstance(schema["cls"], type) and issubclass(schema["cls"], SECRETS)
    function = schema.get("serialization", {}).get("function")
    return getattr(function, "__module__", "") == "pydantic.types" and "secret" in str(function)


def _iterate_fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    key = "arguments_schema" if schema.get("type") == "arguments" else "fields"
    fields = schema.get(key, ())
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:
        # A dataclass lists its names, too.
        named = (each for each in fields if isinstance(each, Mapping) and "name" in each)
        yield from ((each["name"], each) for each in named)


def _iterate_parts(schema: Schema, fields: Mapping[str, Schema]) -> Iterator[Schema]:
    """Yield the schemas within a schema that are not fields and no definitions."""
    for key, part in schema.items():
        if key in ("metadata", "serialization", "definitions", "config", "default") or (
            fields and key in ("fields", "arguments_schema")
        ):
            continue
        nested = part.values() if isinstance(part, Mapping) and "type" not in part else [part]
        for each in part if isinstance(part, (list, tuple)) else nested:
            # A choice of a union can have a label.
            each = each[0] if isinstance(each, tuple) else each
            if isinstance(each, Mapping) and "type" in each:
                yield each


def _find_alias_conflicts(fields: Mapping[str, Schema], path: str) -> Iterator[tuple[str, str]]:
    for name, field in fields.items():
        alias = field.get("validation_alias")
        for each in alias if isinstance(alias, list) else [alias]:
            first = each[0] if isinstance(each, list) else each
            if first != name and first in fields:
                place = f"{path}.{name}" if path else name
                yield place, f"has the alias {first!r}, the name of another field; rename it"


class _GuardBuilder:
    """Builder of guards, which follows references between the parts of a schema.

    Args:
        definitions: schemas by reference.
        exclude: fields of the outermost model that are left out.
    """

    def __init__(self, definitions: Mapping[str, Schema], exclude: frozenset[str]) -> None:
        self.is_plain = True
        self._definitions = definitions
        self._exclude = exclude
        self._known: dict[str, Guard | None] = {}

    def build(self, schema: Schema) -> Guard | None:
        """Return the guard of a schema, or None if JSON keeps every value."""
        if "serialization" in schema or "serialization_exclude_if" in schema:
            plain = ("serialization", "serialization_exclude_if")
            self.build({key: part for key, part in schema.items() if key not in plain})
            return _reject
        kind = schema["type"]
        if kind in _KEPT and not schema.get("allow_inf_nan"):
            return None
        if kind in _COLLECTIONS:
            return _all_of(self._build_optional(schema.get("items_schema")))
        if kind in _VALIDATORS:
            guard = self.build(schema["schema"])
            return guard if hasattr(schema["function"]["function"], _MARK) else _reject
        build: Callable[[Schema], Guard | None] | None
        build = getattr(self, f"_build_{kind.replace('-', '_')}", None)
        return self._reject() if build is None else build(schema)

    def _reject(self) -> Guard:
        self.is_plain = False
        return _reject

    def _build_optional(self, schema: Schema | None) -> Guard | None:
        return self._reject() if schema is None else self.build(schema)

    def _build_inner(self, schema: Schema) -> Guard | None:
        return self.build(schema["schema"])

    _build_default = _build_model_field = _build_typed_dict_field = _build_inner
    _build_definitions = _build_dataclass_field = _build_inner

    def _build_definition_ref(self, schema: Schema) -> Guard | None:
        reference = schema["schema_ref"]
        if reference in self._known:
            return self._known[reference]
        # A model that contains itself.
        self._known[reference] = lambda value: (self._known[reference] or _accept)(value)
        self._known[reference] = guard = self.build(self._definitions[reference])
        return guard

    def _build_nullable(self, schema: Schema) -> Guard | None:
        guard = self.build(schema["schema"])
        return guard and (lambda value: value is None or guard(value))

    def _build_float(self, schema: Schema) -> Guard:
        return math.isfinite

    def _build_bytes(self, schema: Schema) -> Guard:
        return _is_ascii

    def _build_datetime(self, schema: Schema) -> Guard:
        return _has_fixed_offset

    _build_time = _build_datetime

    def _build_enum(self, schema: Schema) -> Guard | None:
        return self._build_constants([each.value for each in schema["members"]], schema["cls"])

    def _build_literal(self, schema: Schema) -> Guard | None:
        return self._build_constants(schema["expected"], object)

    def _build_constants(self, values: list[object], owner: type) -> Guard | None:
        is_kept = {type(each) for each in values} in ({str}, {int}) and not issubclass(owner, Flag)
        return None if is_kept else self._reject()

    def _build_tuple(self, schema: Schema) -> Guard | None:
        guards = [self.build(each) for each in schema["items_schema"]]
        if not any(guards):
            return None
        if schema.get("variadic_item_index") is not None:
            return _all_of(guards[0]) if len(guards) == 1 else self._reject()
        found = [(itemgetter(index), each) for index, each in enumerate(guards) if each]
        return lambda value: all(guard(get(value)) for get, guard in found)

    def _build_dict(self, schema: Schema) -> Guard | None:
        keys = schema.get("keys_schema")
        if keys is None or keys["type"] != "str" or "serialization" in keys:
            return self._reject()
        guard = _all_of(self._build_optional(schema.get("values_schema")))
        return guard and (lambda value: guard(value.values()))

    def _build_typed_dict(self, schema: Schema) -> Guard | None:
        fields = self._build_fields(schema)
        if schema.get("extra_behavior") == "allow" or _changes(schema):
            return self._reject()
        if not fields:
            return None
        return lambda value: all(guard(value[name]) for name, guard in fields if name in value)

    def _build_model(self, schema: Schema) -> Guard | None:
        inner, is_checked = schema["schema"], False
        if _changes(schema):
            return self._reject()
        while inner["type"] in _VALIDATORS:
            is_checked |= not hasattr(inner["function"]["function"], _MARK)
            inner = inner["schema"]
        if schema.get("root_model"):
            guard = self.build(inner)
            fields = [("root", guard)] if guard else []
        elif inner["type"] == "model-fields":
            fields = self._build_fields(inner)
        else:
            return self._reject()
        if is_checked or schema.get("custom_init") or schema.get("post_init"):
            return _reject
        exact = _of_class(schema["cls"], fields)
        if schema.get("config", {}).get("extra_fields_behavior") == "allow":
            return lambda value: exact(value) and not value.__pydantic_extra__
        return exact

    def _build_dataclass(self, schema: Schema) -> Guard | None:
        inner = schema["schema"]
        if _changes(schema) or inner["type"] != "dataclass-args":
            return self._reject()
        fields = self._build_fields(inner)
        is_partial = any(
            each.get("init") is False or each.get("init_only") for each in inner["fields"]
        )
        if is_partial or schema.get("post_init"):
            return _reject
        return _of_class(schema["cls"], fields)

    def _build_fields(self, schema: Schema) -> list[tuple[str, Guard]]:
        exclude, self._exclude = self._exclude, frozenset()
        guards = (
            (name, self.build(field))
            for name, field in _iterate_fields(schema)
            if name not in exclude
        )
        return [(name, guard) for name, guard in guards if guard is not None]


def _changes(schema: Schema) -> bool:
    """Return whether the configuration of a class changes how its values become JSON."""
    config = schema.get("config") or {}
    return any(
        key.startswith(_CHANGED_BY_CONFIG) and value and not key.startswith("val_by")
        for key, value in config.items()
    )


def _of_class(type_: type, fields: list[tuple[str, Guard]]) -> Guard:
    guards = [(attrgetter(name), guard) for name, guard in fields]

    def is_kept(value: object) -> bool:
        if value.__class__ is not type_:
            return False
        for get, guard in guards:  # noqa: SIM110 - a generator takes twice as long
            if not guard(get(value)):
                return False
        return True

    return is_kept


def _all_of(guard: Guard | None) -> Guard | None:
    return guard and (lambda values: all(map(guard, values)))


def _accept(value: object) -> bool:
    return True


def _reject(value: object) -> bool:
    return False


_is_ascii = methodcaller("isascii")


def _has_fixed_offset(value: datetime | time) -> bool:
    return has_fixed_offset(value.tzinfo)
