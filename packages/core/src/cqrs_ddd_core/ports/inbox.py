"""Which messages were handled, and with what outcome."""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

from pydantic_core import PydanticSerializationError, to_json

from ..primitives.exceptions import InvalidOperationError, SerializationError
from .unit_of_work import UnitOfWork


@dataclass(frozen=True)
class InboxEntry:
    """A message that ``consumer`` has handled; ``outcome`` is what it answered, as JSON values."""

    consumer: str
    message_id: str
    fingerprint: str
    outcome: Any = None


@runtime_checkable
class IInbox(Protocol):
    """Remembers handled messages in the transaction of their effects."""

    @abstractmethod
    async def register(
        self, consumer: str, message_id: str, fingerprint: str, uow: UnitOfWork | None = None
    ) -> InboxEntry | None:
        """None for the first time; the earlier entry for a repetition.

        Raises ``DuplicateCommandError`` when the id came before with another ``fingerprint``.
        """
        ...

    @abstractmethod
    async def store_outcome(
        self, consumer: str, message_id: str, outcome: Any, uow: UnitOfWork | None = None
    ) -> None: ...


@runtime_checkable
class IInboxProvider(Protocol):
    """A unit of work that carries an inbox."""

    @property
    @abstractmethod
    def inbox(self) -> IInbox: ...


def inbox_of(uow: UnitOfWork | None) -> IInbox:
    """The inbox that a unit of work carries; raises ``InvalidOperationError`` where it has none."""
    carrier: object = uow
    if not isinstance(carrier, IInboxProvider):
        raise InvalidOperationError(
            f"{type(uow).__name__} carries no inbox; use a unit of work that does"
        )
    return carrier.inbox


def fingerprint_of(content: object) -> str:
    """SHA-256 of the content as JSON with sorted keys; raises ``SerializationError``."""
    try:
        plain = json.loads(to_json(content))
    except (PydanticSerializationError, ValueError) as error:
        raise SerializationError(
            f"{type(content).__name__} cannot be written as JSON: {error}; "
            "give it values that pydantic serialises",
            type_name=type(content).__name__,
        ) from error
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
