"""Orders to the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from pydantic import ConfigDict, Field

from ..primitives.id_generator import uuid4_text
from ..primitives.immutable import ImmutableModel

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R = TypeVar("R", default=Any)
else:
    from typing import TypeVar

    R = TypeVar("R")


class Command(ImmutableModel, Generic[R]):
    """An intent to change something; ``Command[str]`` is answered with a ``str``.

    A command sent twice under one ``command_id`` is one command. Without a ``correlation_id`` it
    joins the request in progress, or starts one.
    """

    model_config = ConfigDict(extra="forbid")

    command_id: str = Field(default_factory=uuid4_text, min_length=1)
    correlation_id: str | None = None
