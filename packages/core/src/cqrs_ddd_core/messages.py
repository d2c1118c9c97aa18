"""Commands and queries, their responses, and the registry of their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pydantic
from pydantic_core import to_json

from .domain.events import DomainEvent
from .primitives import exceptions, id_generator, immutable, json_fields, type_registry

__all__ = ["Command", "CommandResponse", "MessageRegistry", "Query", "QueryResponse"]

if TYPE_CHECKING:
    import typing_extensions

    R = typing_extensions.TypeVar("R", default=Any)
else:
    R = TypeVar("R")
T = TypeVar("T")


class Command(immutable.ImmutableModel, Generic[R]):
    """Request to change something; the result of ``Command[str]`` is a ``str``.

    Two commands with the same ``command_id`` are the same command: with ``IdempotencyMiddleware``,
    the second one gets the result of the first, also within one unit of work.

    Attributes:
        command_id: unique id, a random UUID by default.
        correlation_id: id of the request; by default the id of the running request, else
            ``command_id``.

    Example:
        ```python
        from cqrs_ddd_core import Command

        class PlaceOrder(Command[int]):
            customer: str

        command = PlaceOrder(command_id="order-of-ann-1", customer="ann")
        ```
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    remember_result: ClassVar[bool] = True
    """False if the inbox stores no result, such as a password; a repetition is then answered with
    ``ResultNotRememberedError``."""

    command_id: str = pydantic.Field(default_factory=id_generator.uuid4_text, min_length=1)
    correlation_id: str | None = None


class Query(immutable.ImmutableModel, Generic[R]):
    """Request for information that changes nothing; the result of ``Query[int]`` is an ``int``.

    Attributes:
        query_id: unique id, a random UUID by default.
        correlation_id: id of the request; by default the id of the running request, else
            ``query_id``.

    Example:
        ```python
        from cqrs_ddd_core import Query

        class CountOrders(Query[int]):
            customer: str

        query = CountOrders(customer="ann")
        ```
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    query_id: str = pydantic.Field(default_factory=id_generator.uuid4_text, min_length=1)
    correlation_id: str | None = None


@dataclass(slots=True)
class CommandResponse(Generic[T]):
    """Result of a command, with its events.

    A handler may return a response to raise ``events`` in addition to the events of its aggregates.

    Attributes:
        result: result of the handler.
        events: in the response of the mediator, every event of the unit of work.
        position: last global position that the event store assigned; None if it stored no event.
    """

    result: T
    events: Sequence[DomainEvent] = ()
    position: int | None = None


@dataclass(slots=True)
class QueryResponse(Generic[T]):
    """Result of a query.

    Attributes:
        result: result of the handler.
    """

    result: T


Message = Command | Query
M = TypeVar("M", bound="type[Command] | type[Query]")


class MessageRegistry(type_registry.TypeRegistry[Message]):
    """Registry of the messages that may be created from data."""

    def __init__(self) -> None:
        super().__init__("message")

    def register(self, message_type: M) -> M:
        """Register a class under its name and return it, so this can be a decorator.

        Raises:
            DuplicateTypeError: this or another class is registered under the name.
        """
        self.add(message_type.__name__, message_type)
        return message_type

    def hydrate(self, name: str, data: Mapping[str, object]) -> Message:
        """Create a message from data in the form of JSON, with the names or aliases of its fields.

        Raises:
            SerializationError: the data cannot be written as JSON.
            UnknownTypeError: no class is registered under the name.
            ValidationError: the data does not fit the class.
        """
        message_type = self.get(name)
        # As JSON, a secret would be masked.
        plain = {
            field: value.get_secret_value() if isinstance(value, json_fields.SECRETS) else value
            for field, value in data.items()
        }
        try:
            encoded = to_json(plain)
        except ValueError as error:
            raise exceptions.SerializationError.not_json(
                f"the data of {name}", error, type_name=name
            ) from exceptions.ConcealedError(error)
        try:
            return message_type.model_validate_json(encoded, by_alias=True, by_name=True)
        except pydantic.ValidationError as error:
            raise exceptions.ValidationError.from_pydantic(
                f"the data does not fit {name}", error
            ) from exceptions.ConcealedError(error)
