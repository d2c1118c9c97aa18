"""What every upcaster must do."""

from __future__ import annotations

import copy
from typing import Any

from pydantic_core import from_json, to_json

from ...ports.upcasting import IEventUpcaster


class UpcasterContract:
    """Fixtures: ``upcaster``, and ``old``, a payload of its source version."""

    def test_it_says_what_it_is_for(self, upcaster: IEventUpcaster) -> None:
        assert upcaster.event_type
        assert upcaster.source_version >= 1

    def test_it_leaves_the_old_payload_as_it_is(
        self, upcaster: IEventUpcaster, old: dict[str, Any]
    ) -> None:
        before = copy.deepcopy(old)

        upcaster.upcast(old)

        assert old == before

    def test_it_makes_the_same_of_the_same(
        self, upcaster: IEventUpcaster, old: dict[str, Any]
    ) -> None:
        assert upcaster.upcast(old) == upcaster.upcast(copy.deepcopy(old))

    def test_what_it_makes_is_json(self, upcaster: IEventUpcaster, old: dict[str, Any]) -> None:
        new = upcaster.upcast(old)

        assert from_json(to_json(new)) == new
