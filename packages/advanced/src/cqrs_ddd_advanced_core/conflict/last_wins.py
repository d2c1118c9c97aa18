"""One side wins as a whole, and the change of the other is gone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pydantic
from pydantic import AwareDatetime, TypeAdapter

from ..exceptions import MergeConflictError
from .merging import MergeStrategy


class LastWinsStrategy(MergeStrategy):
    """What is written last, which is ``mine``: their change is lost, on purpose."""

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        return mine


class TimestampLastWinsStrategy(MergeStrategy):
    """The whole of the side with the later time in ``field``; of the same time, ``mine``.

    A time is aware: a datetime, or a text as JSON has it. Raises ``MergeConflictError`` where a
    side has none.
    """

    def __init__(self, field: str) -> None:
        self._field = field

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        return theirs if self._time_of(theirs, "theirs") > self._time_of(mine, "mine") else mine

    def _time_of(self, side: Any, name: str) -> datetime:
        value = side.get(self._field) if isinstance(side, Mapping) else None
        if isinstance(value, (str, datetime)):
            try:
                return _TIME.validate_python(value)
            except pydantic.ValidationError:
                pass
        reason = f"{value!r} of {name} is no time with a zone, so neither side is the later one"
        raise MergeConflictError(
            f"cannot merge by {self._field}: {reason}", reasons={self._field: reason}
        )


_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
