"""The glossary is in order, and every page links each term where it first appears."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.glossary import (
    GLOSSARY,
    Entry,
    address_from,
    entries,
    pages,
    with_links,
    without_links,
)


def test_glossary_has_one_line_for_each_term_in_alphabetical_order() -> None:
    terms = [entry.term.lower() for entry in entries()]
    lines = [line for line in GLOSSARY.read_text("utf-8").splitlines() if line.startswith("- ")]

    assert len(terms) == len(lines) > 60
    assert terms == sorted(terms)


def test_spellings_and_anchors_of_the_glossary_are_unique() -> None:
    spellings = Counter(name.lower() for entry in entries() for name in entry.spellings)
    anchors = Counter(entry.anchor for entry in entries())

    assert [name for name, count in (spellings + anchors).items() if count > 2] == []
    assert max(spellings.values()) == max(anchors.values()) == 1


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_links_each_term_where_it_first_appears(page: Path) -> None:
    text = page.read_text("utf-8")

    expected = with_links(without_links(text), entries(), address_from(page))

    assert text == expected, "run `make glossary`"


TERMS = [
    Entry("relay", "relay", ["relay", "relays"]),
    Entry("unit-of-work", "unit of work", ["unit of work", "units of work"]),
    Entry("work", "work", ["work"]),
]

PLAIN = """\
# The relay

See [the relay](relay.md): `relay` or relays, one
relay for each [order][] and each unit
of work: the work.

```python
relay.run()  # the relay
```

[order]: order.md
"""

LINKED = """\
# The relay

See [the relay](relay.md): `relay` or [relays][relay], one
relay for each [order][] and each [unit
of work][unit of work]: the [work].

```python
relay.run()  # the relay
```

[order]: order.md

[relay]: glossary.md#relay
[unit of work]: glossary.md#unit-of-work
[work]: glossary.md#work
"""


def test_first_appearance_in_the_text_is_linked_and_the_longest_term_wins() -> None:
    assert with_links(PLAIN, TERMS, "glossary.md") == LINKED


def test_links_are_taken_away_before_they_are_written_again() -> None:
    assert without_links(LINKED) == PLAIN
    assert without_links(PLAIN) == PLAIN
