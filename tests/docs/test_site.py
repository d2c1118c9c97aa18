"""Tests of the sources of the site: links to the reference, and scripts of the pages."""

from __future__ import annotations

import runpy
import zipfile
from pathlib import Path

import pytest

from tests.docs.site import build, find_references, link_names, offer_download, to_script

NAMES = {"Order": "shop.Order", "Cart": "shop.Cart"}


@pytest.mark.parametrize(
    ("page", "linked"),
    [
        ("An `Order`, and the `Order` again.", "An [`Order`][shop.Order], and the `Order` again."),
        ("## The `Order`\n\n`Cart`", "## The `Order`\n\n[`Cart`][shop.Cart]"),
        ("```python\n`Order`\n```\n", "```python\n`Order`\n```\n"),
        ("[the `Order`](order.md)", "[the `Order`](order.md)"),
        ("[`Order`][order] `Cart.add`", "[`Order`][order] `Cart.add`"),
    ],
)
def test_first_mention_of_a_public_name_becomes_a_link(page: str, linked: str) -> None:
    assert link_names(page, NAMES) == linked


def test_name_is_linked_to_the_shortest_of_its_places() -> None:
    names = ["shop.domain.Order", "shop.Order", "shop.ports.Cart"]

    assert find_references(names) == {"Order": "shop.Order", "Cart": "shop.ports.Cart"}


def _run(tmp_path: Path, *blocks: str) -> dict[str, object]:
    script = tmp_path / "page_example.py"
    script.write_text(to_script(blocks), "utf-8")
    return runpy.run_path(str(script), run_name="page_example")


def test_script_without_await_is_the_code_of_its_blocks() -> None:
    assert to_script(["a = 1\n", "\nb = a\n"]) == "a = 1\n\nb = a\n"


def test_script_awaits_outside_of_functions_as_the_blocks_do(tmp_path: Path) -> None:
    found = _run(
        tmp_path,
        "import asyncio\n\ncount = 0\n\nasync def add(n: int) -> int:\n    await asyncio.sleep(0)\n"
        "    return count + n\n",
        "total = await add(1)\nloop = asyncio.get_running_loop()\n",
        "async with asyncio.Lock():\n    count = 2\n"
        "assert loop is asyncio.get_running_loop()\n"
        "rest = await add(3)\n",
    )

    assert (found["count"], found["total"], found["rest"]) == (2, 1, 5)


def test_names_of_a_script_stay_global(tmp_path: Path) -> None:
    found = _run(
        tmp_path,
        "import asyncio\nawait asyncio.sleep(0)\n"
        "from dataclasses import dataclass as data\n\n@data\nclass Item:\n    name: str\n\n"
        "async def read():\n    return item.name\n\nitem = Item('tea')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    text = str(error)\n"
        "for number, (left, *right) in enumerate([(1, 2)]):\n    pass\n"
        "name = await read()\n",
    )

    assert found["name"] == "tea"
    assert getattr(found["Item"], "__qualname__", None) == "Item"
    assert (found["text"], found["number"], found["right"]) == ("division by zero", 0, [2])


def test_text_of_several_lines_is_not_indented(tmp_path: Path) -> None:
    found = _run(tmp_path, 'import asyncio\nawait asyncio.sleep(0)\ntext = """a\n  b\n"""\n')

    assert found["text"] == "a\n  b\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "running-it.md"


def test_page_with_code_offers_it_as_a_script(page: Path) -> None:
    text = offer_download(
        "# A\n\n```python\na = 1\n```\n\n<!-- skip: next -->\n\n```python\nb\n```\n", page
    )

    assert "[Download the code of this page](running_it_example.py)" in text
    assert page.with_name("running_it_example.py").read_text("utf-8") == "a = 1\n"


def test_page_with_files_offers_their_last_form(page: Path) -> None:
    blocks = ["# shop/a.py\nx = 1", "import shop.a", "# shop/a.py\nx = 2", "# b.py\n"]
    offer_download("".join(f"```python\n{each}\n```\n\n" for each in blocks), page)

    with zipfile.ZipFile(page.with_suffix(".zip")) as archive:
        assert archive.namelist() == ["shop/a.py", "b.py"]
        assert archive.read("shop/a.py") == b"# shop/a.py\nx = 2\n"


def test_page_without_code_offers_nothing(page: Path) -> None:
    assert offer_download("# A\n", page) == "# A\n"


def test_sources_of_the_site_have_the_readme_as_their_home_page(tmp_path: Path) -> None:
    build(tmp_path / "docs")

    home = (tmp_path / "docs/index.md").read_text("utf-8")
    assert "](docs/" not in home
    assert "(concepts/application.md)" in home
    assert "(pages.md)" in home
    example = (tmp_path / "docs/examples/order_system/README.md").read_text("utf-8")
    assert "### `domain.py`\n\n```python\n" in example
