"""Fingerprints of messages, which stay the same across processes and releases."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

import pydantic
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from ..messages import Command
from ..primitives.exceptions import ConcealedError, SerializationError
from ..primitives.json_fields import SECRETS
from ..primitives.json_form import find_difference
from .inbox import compute_fingerprint

_ENVELOPE = frozenset({"command_id", "correlation_id"})
_ABSENT = object()
_ATOMS = frozenset({str, int, float, bool, type(None)})

_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
"""Costs of one guess of a secret: 16 MiB of memory and some 40 ms."""


async def compute_command_fingerprint(command: Command) -> str:
    """Return a hash of the name and the content of a command, in hexadecimal.

    The name is the one in ``MessageRegistry``. The content consists of the fields that the
    sender set to another value than their default; sets are sorted. Secrets become part of it
    through scrypt, salted with the id of the command, in a thread.

    Raises:
        SerializationError: the content cannot be written as JSON.
    """
    name = type(command).__name__
    reader = _ContentReader()
    try:
        written = command.model_dump(mode="json", by_alias=False, round_trip=True, warnings=False)
        content = [name, reader.read_fields(command, written, exclude=_ENVELOPE)]
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError.not_json(name, error, type_name=name) from ConcealedError(error)
    if reader.secrets:
        # Sorted, since the secrets of a set have no order.
        secrets = json.dumps(sorted(reader.secrets)).encode()
        content.append(await asyncio.to_thread(_hash_secrets, secrets, command.command_id))
    return compute_fingerprint(content)


def _hash_secrets(secrets: bytes, salt: str) -> str:
    return hashlib.scrypt(secrets, salt=salt.encode(), **_SCRYPT).hex()


class _ContentReader:
    """Reader of a message, with the JSON that pydantic has written of it."""

    def __init__(self) -> None:
        self.secrets: list[tuple[str, str]] = []

    def read_fields(
        self,
        owner: Any,
        written: Mapping[str, Any],
        path: str = "",
        exclude: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return the fields of a model or a dataclass that do not equal their defaults."""
        return {
            name: self._read(value, written.get(name, _ABSENT), f"{path}.{name}")
            for name, value in _iterate_content(owner, is_nested=bool(path))
            if name not in exclude
        }

    def _read(self, value: Any, written: Any, path: str) -> Any:
        if isinstance(value, SECRETS):
            self.secrets.append((path, _reveal(value)))
            return "secret"
        if written.__class__ in _ATOMS:
            return written
        if written is _ABSENT:  # A field with exclude=True.
            written = to_jsonable_python(value)
        if isinstance(value, pydantic.RootModel):
            return self._read(value.root, written, path)
        if isinstance(written, Mapping):
            if isinstance(value, pydantic.BaseModel) or is_dataclass(value):
                return self.read_fields(value, written, path)
            if isinstance(value, Mapping) and len(value) == len(written):
                pairs = zip(value.values(), written.items(), strict=True)
                return {key: self._read(part, each, f"{path}.{key}") for part, (key, each) in pairs}
        if isinstance(written, list) and isinstance(value, Collection):
            if len(value) != len(written):
                return written
            parts = [self._read(*pair, path) for pair in zip(value, written, strict=True)]
            return sorted(parts, key=_sort_key) if isinstance(value, Set) else parts
        return written


def _iterate_content(owner: Any, *, is_nested: bool) -> Iterator[tuple[str, Any]]:
    if not isinstance(owner, pydantic.BaseModel):
        for each in fields(owner):
            value = getattr(owner, each.name)
            if each.default is MISSING or find_difference(each.default, value) is not None:
                yield each.name, value
        return
    given = owner.model_fields_set
    for name, field, is_constant in _list_fields(type(owner)):
        value = owner.__dict__[name]
        # The tag of one of several models distinguishes them.
        is_tag = is_nested and is_constant
        if is_tag or (name in given and (field is None or not _is_default(field, value))):
            yield name, value
    yield from (owner.__pydantic_extra__ or {}).items()


@lru_cache(maxsize=1024)
def _list_fields(
    model: type[pydantic.BaseModel],
) -> list[tuple[str, pydantic.fields.FieldInfo | None, bool]]:
    """Return the name of each field, the field itself if it has a default, and if it is a tag."""
    return [
        (name, None if field.is_required() else field, _is_constant(field.annotation))
        for name, field in model.model_fields.items()
    ]


def _is_default(field: pydantic.fields.FieldInfo, value: object) -> bool:
    if field.default_factory_takes_validated_data:
        return False
    # The default first, as pydantic has not validated it: 0 is the default Decimal(0), too.
    return find_difference(field.get_default(call_default_factory=True), value) is None


def _is_constant(annotation: object) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _reveal(secret: Any) -> str:
    value = secret.get_secret_value()
    return value.hex() if isinstance(value, bytes) else to_json(value).decode()


def _sort_key(part: object) -> str:
    return json.dumps(part, sort_keys=True)
