"""Names of commands and queries, for those that arrive as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic

from ..messages.command import Command
from ..messages.query import Query
from ..primitives.exceptions import ValidationError
from ..primitives.type_registry import TypeRegistry

Message = Command[Any] | Query[Any]
M = TypeVar("M", bound="type[Command[Any]] | type[Query[Any]]")


class MessageRegistry(TypeRegistry[Message]):
    """A closed table of the messages that may be made from data."""

    def __init__(self) -> None:
        super().__init__("message")

    def register(self, message_type: M) -> M:
        """Under its class name; usable as a decorator; raises ``DuplicateTypeError``."""
        self.add(message_type.__name__, message_type)
        return message_type

    def hydrate(self, name: str, data: Mapping[str, Any]) -> Message:
        """Raises ``UnknownTypeError``, and ``ValidationError`` for data that does not fit."""
        message_type = self.get(name)
        try:
            return message_type.model_validate(dict(data))
        except pydantic.ValidationError as error:
            raise ValidationError.from_pydantic(f"the data does not fit {name}", error) from error
