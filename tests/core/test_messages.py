from __future__ import annotations

from typing import Any
from uuid import UUID

import pydantic
import pytest

from cqrs_ddd_core import Command, CommandResponse, MessageRegistry, Query, QueryResponse
from cqrs_ddd_core.primitives.exceptions import (
    DuplicateTypeError,
    ImmutableObjectError,
    UnknownTypeError,
    ValidationError,
)


class Rename(Command[str]):
    thing_id: str
    name: str


class FindName(Query[str]):
    thing_id: str


class Untyped(Command):
    pass


def test_every_message_has_its_own_id() -> None:
    one, two = Rename(thing_id="1", name="a"), Rename(thing_id="1", name="a")

    assert one.command_id != two.command_id
    assert UUID(one.command_id).version == 4
    assert UUID(FindName(thing_id="1").query_id).version == 4
    assert one.correlation_id is None
    assert Untyped().command_id


def test_message_keeps_the_given_ids() -> None:
    command = Rename(thing_id="1", name="a", command_id="c-1", correlation_id="r-1")

    assert (command.command_id, command.correlation_id) == ("c-1", "r-1")
    assert command == Rename(thing_id="1", name="a", command_id="c-1", correlation_id="r-1")


@pytest.mark.parametrize(
    "fields", [{}, {"name": "a"}, {"thing_id": "1", "name": "a", "nmae": "b"}, {"command_id": ""}]
)
def test_message_rejects_missing_surplus_and_empty_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Rename(**{"thing_id": "1", **fields} if "command_id" in fields else fields)


def test_message_is_immutable() -> None:
    command: Any = Rename(thing_id="1", name="a")

    with pytest.raises(ImmutableObjectError, match="Rename.name cannot be changed"):
        command.name = "b"


def test_message_survives_a_json_round_trip() -> None:
    command = Rename(thing_id="1", name="ü")

    assert Rename.model_validate_json(command.model_dump_json()) == command


def test_responses_compare_by_value() -> None:
    assert CommandResponse("x") == CommandResponse("x", (), None)
    assert QueryResponse(None) == QueryResponse(None)
    assert CommandResponse[str]("x").result == "x"


def test_message_registry_builds_a_message_from_its_name_and_data() -> None:
    registry = MessageRegistry()
    registry.register(Rename)
    assert registry.register(FindName) is FindName

    command = registry.hydrate("Rename", {"thing_id": "1", "name": "a", "command_id": "c-1"})

    assert command == Rename(thing_id="1", name="a", command_id="c-1")


def test_message_registry_rejects_unknown_names_and_unfitting_data() -> None:
    registry = MessageRegistry()
    registry.register(Rename)

    with pytest.raises(UnknownTypeError, match="no message 'Renam' .*; there is Rename"):
        registry.hydrate("Renam", {})
    with pytest.raises(ValidationError, match="the data does not fit Rename: thing_id") as caught:
        registry.hydrate("Rename", {"name": "a", "surplus": 1})

    assert set(caught.value.errors) == {"thing_id", "surplus"}


def test_message_registry_rejects_a_second_class_with_the_same_name() -> None:
    registry = MessageRegistry()
    registry.register(Rename)

    for second in (Rename, type("Rename", (Command,), {"__module__": "elsewhere"})):
        with pytest.raises(DuplicateTypeError, match="message 'Rename' is already"):
            registry.register(second)
