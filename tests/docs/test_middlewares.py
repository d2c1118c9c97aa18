"""Tests that the table of middlewares on the page of the application is that of the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cqrs_ddd_core import Application, Command, IMiddleware, InMemoryBackend, standard_middlewares
from cqrs_ddd_core.adapters.memory import InMemoryMessageBus
from cqrs_ddd_core.ports.middleware import Placement
from tests.architecture.public_api import public_roots
from tests.docs.blocks import ROOT
from tests.docs.glossary import without_links

PAGE = without_links((ROOT / "docs/concepts/application.md").read_text("utf-8"))
ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|([^|]*)\|[^|]+\|$", PAGE, re.M)
OWN = "your own, unless it sets `order`"


class _Take(Command[None]):
    pass


def find_middlewares() -> dict[str, type[IMiddleware]]:
    """Return the middlewares that a package exports, by name."""
    exported = (getattr(root, name) for root in public_roots() for name in root.__all__)
    return {
        each.__name__: each
        for each in exported
        if isinstance(each, type) and IMiddleware in each.__mro__[1:]
    }


def _read_rows() -> Iterator[tuple[int, str, Placement, str]]:
    for order, name, place, standard in ROWS:
        if name != OWN:
            placement = Placement.INSIDE if place.startswith("inside") else Placement.OUTSIDE
            yield int(order), name.strip("`"), placement, standard.strip()


def test_table_names_each_middleware_with_its_order_and_placement() -> None:
    found = {
        name: (middleware.order, middleware.placement)
        for name, middleware in find_middlewares().items()
    }

    assert found == {name: (order, place) for order, name, place, _ in _read_rows()}
    assert len(ROWS) == len(found) + 1


def test_table_is_in_the_order_in_which_middlewares_run() -> None:
    rows = [(place is Placement.INSIDE, order) for order, _, place, _ in _read_rows()]

    assert rows == sorted(rows)


def test_table_marks_the_standard_middlewares() -> None:
    marked = [name for _, name, _, standard in _read_rows() if standard == "yes"]

    assert marked == [type(each).__name__ for each in standard_middlewares()]


def test_table_marks_the_middlewares_that_a_publisher_adds() -> None:
    app = Application(InMemoryBackend(), publisher=InMemoryMessageBus())
    marked = {name for _, name, _, standard in _read_rows() if standard}

    @app.command_handler
    async def take(command: _Take) -> None: ...

    plan = app.explain(_Take)
    assert marked == {*plan.outside, *plan.inside}
    assert [standard for *_, standard in _read_rows() if standard not in ("", "yes")] == [
        "with a publisher"
    ]


def test_table_names_the_order_of_a_middleware_that_sets_none() -> None:
    assert [row[0] for row in ROWS if row[1] == OWN] == [str(IMiddleware.order)]
