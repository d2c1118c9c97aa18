"""Questions to the application."""

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


class Query(ImmutableModel, Generic[R]):
    """A question that changes nothing; ``Query[int]`` is answered with an ``int``."""

    model_config = ConfigDict(extra="forbid")

    query_id: str = Field(default_factory=uuid4_text, min_length=1)
    correlation_id: str | None = None
