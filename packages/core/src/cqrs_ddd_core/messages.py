"""Commands and queries, the responses to them, and their names for those that arrive as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pydantic

from .domain.events import DomainEvent
from .primitives import exceptions, id_generator, immutable, type_registry

__all__ = ["Command", "CommandResponse", "MessageRegistry", "Query", "QueryResponse"]

if TYPE_CHECKING:
    import typing_extensions

    R = typing_extensions.TypeVar("R", default=Any)
else:
    R = TypeVar("R")
T = TypeVar("T")


class Command(immutable.ImmutableModel, Generic[R]):
    """An intent to change something; the result of ``Command[str]`` is a ``str``.

    A command that is sent twice under one ``command_id`` is one command. Without a
    ``correlation_id`` it joins the request in progress, or starts one.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    command_id: str = pydantic.Field(default_factory=id_generator.uuid4_text, min_length=1)
    correlation_id: str | None = None


class Query(immutable.ImmutableModel, Generic[R]):
    """A question that changes nothing; the result of ``Query[int]`` is an ``int``."""

    model_config = pydantic.ConfigDict(extra="forbid")

    query_id: str = pydantic.Field(default_factory=id_generator.uuid4_text, min_length=1)
    correlation_id: str | None = None


@dataclass(slots=True)
class CommandResponse(Generic[T]):
    """Result of a command, with the events that it led to.

    A handler may return one to raise ``events`` in addition to those of its aggregates. The
    mediator's response holds every event of the unit of work, and in ``position`` the last global
    position that the event store assigned; None if nothing was stored.
    """

    result: T
    events: Sequence[DomainEvent] = ()
    position: int | None = None


@dataclass(slots=True)
class QueryResponse(Generic[T]):
    """Result of a query."""

    result: T


Message = Command | Query
M = TypeVar("M", bound="type[Command] | type[Query]")


class MessageRegistry(type_registry.TypeRegistry[Message]):
    """A closed table of the messages that may be made from data."""

    def __init__(self) -> None:
        super().__init__("message")

    def register(self, message_type: M) -> M:
        """Register a class under its name, also as a decorator; raise ``DuplicateTypeError``."""
        self.add(message_type.__name__, message_type)
        return message_type

    def hydrate(self, name: str, data: Mapping[str, object]) -> Message:
        """Make a message from data.

        Raises ``UnknownTypeError``, and ``ValidationError`` for data that does not fit.
        """
        message_type = self.get(name)
        try:
            return message_type.model_validate(dict(data))
        except pydantic.ValidationError as error:
            raise exceptions.ValidationError.from_pydantic(
                f"the data does not fit {name}", error
            ) from error
