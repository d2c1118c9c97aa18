"""Contract of upcasters."""

from __future__ import annotations

import copy
from typing import Any

from pydantic_core import from_json, to_json

from ...ports.upcasting import IEventUpcaster


class UpcasterContract:
    """Contract of ``IEventUpcaster``.

    Fixtures:
        upcaster: The upcaster under test.
        old: An event payload of its source version.
    """

    def test_upcaster_declares_its_event_type_and_source_version(
        self, upcaster: IEventUpcaster
    ) -> None:
        assert upcaster.event_type
        assert upcaster.source_version >= 1

    def test_upcaster_does_not_modify_the_old_payload(
        self, upcaster: IEventUpcaster, old: dict[str, Any]
    ) -> None:
        before = copy.deepcopy(old)

        upcaster.upcast(old)

        assert old == before

    def test_upcaster_returns_equal_payloads_for_equal_payloads(
        self, upcaster: IEventUpcaster, old: dict[str, Any]
    ) -> None:
        assert upcaster.upcast(old) == upcaster.upcast(copy.deepcopy(old))

    def test_upcaster_returns_a_json_payload(
        self, upcaster: IEventUpcaster, old: dict[str, Any]
    ) -> None:
        new = upcaster.upcast(old)

        assert from_json(to_json(new)) == new
