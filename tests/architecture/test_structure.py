"""Limits of the packages' structure, and tests of the code that measures it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture.packages import PACKAGES, Package
from tests.architecture.structure import Measures, main, measure, table

IMPORT_SHARE = 0.10
ANY_BEFORE = {
    "cqrs-ddd-core": 49.3,
    "cqrs-ddd-advanced-core": 58.6,
    "cqrs-ddd-specifications": 103.4,
    "cqrs-ddd-persistence-sqlalchemy": 65.2,
    "cqrs-ddd-redis": 28.3,
}
"""Uses of `Any` per 1,000 code lines before the limit was set."""
ANY_SHARE = 2 / 3

each_package = pytest.mark.parametrize("name", [package.name for package in PACKAGES])


@pytest.fixture(scope="module")
def measures() -> dict[str, Measures]:
    return measure(PACKAGES)


@each_package
def test_modules_of_a_package_import_each_other_without_circles(
    name: str, measures: dict[str, Measures]
) -> None:
    assert measures[name].circles == []


@each_package
def test_imports_are_at_most_a_tenth_of_the_code_lines(
    name: str, measures: dict[str, Measures]
) -> None:
    assert measures[name].import_share <= IMPORT_SHARE


@each_package
def test_small_module_has_at_least_two_users(name: str, measures: dict[str, Measures]) -> None:
    assert measures[name].small_modules == {}


@each_package
def test_any_is_used_at_most_two_thirds_as_often_as_before(
    name: str, measures: dict[str, Measures]
) -> None:
    assert measures[name].any_rate <= ANY_BEFORE[name] * ANY_SHARE


PROJECT = """\
[project]
dependencies = []
[project.optional-dependencies]
maps = ["map-library>=1"]
"""


def write_package(tmp_path: Path, files: dict[str, str], name: str = "shop") -> Package:
    """Write a package with the given sources; a root is added to every folder without one."""
    package = Package(tmp_path / name, name, name)
    package.source.mkdir(parents=True)
    (package.folder / "pyproject.toml").write_text(PROJECT, "utf-8")
    for path, text in files.items():
        file = package.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    for folder in [package.source, *filter(Path.is_dir, package.source.rglob("*"))]:
        (folder / "__init__.py").touch()
    return package


def measure_files(tmp_path: Path, files: dict[str, str]) -> Measures:
    return measure([write_package(tmp_path, files)])["shop"]


LONG_BODY = 30 * "    ...\n"
BIG = "\n".join(f"line_{number} = {number}" for number in range(40)) + "\n"


def test_blank_lines_comments_and_docstrings_do_not_count_as_code(tmp_path: Path) -> None:
    text = '''"""Module of
two lines."""

# A comment.
LIMIT = """A

text"""
"""What the limit is."""


def double(x: int) -> int:
    """Return the double."""
    return (
        2 * x  # twice
    )
'''

    assert measure_files(tmp_path, {"goods.py": text}).code_lines == 6


def test_every_line_of_an_import_block_counts_as_import(tmp_path: Path) -> None:
    text = """from typing import TYPE_CHECKING
from pathlib import (
    Path,
)

if TYPE_CHECKING:
    from os import PathLike

    Name = str | PathLike[str]
else:
    Name = str


def local() -> None:
    import json

    print(json, Path)
"""

    found = measure_files(tmp_path, {"goods.py": text})

    assert found.import_lines == 8
    assert found.code_lines == 12
    assert found.import_share == pytest.approx(8 / 12)


def test_block_that_type_checkers_skip_does_not_count_as_import(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    x = 1\n"

    assert measure_files(tmp_path, {"goods.py": text}).import_lines == 1


def test_measures_leave_test_kits_out(tmp_path: Path) -> None:
    found = measure_files(tmp_path, {"goods.py": BIG, "testing/contracts/goods.py": BIG})

    assert found.code_lines == 40
    assert found.modules == 2


@pytest.mark.parametrize(
    "back",
    [
        "from .cart import Cart",
        "import shop.cart",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.cart import Cart",
        "def price() -> None:\n    from . import cart",
    ],
    ids=["relative", "absolute", "for types", "inside a function"],
)
def test_import_circle_of_three_modules_is_reported_with_its_members(
    tmp_path: Path, back: str
) -> None:
    found = measure_files(
        tmp_path,
        {
            "cart.py": "from .prices import price\nclass Cart: ...",
            "prices.py": "from shop.taxes import tax",
            "taxes.py": back,
            "free.py": "from .cart import Cart",
        },
    )

    assert found.circles == [["shop.cart", "shop.prices", "shop.taxes"]]


def test_folder_root_that_its_own_module_imports_is_an_import_circle(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path,
        {"cart/__init__.py": "from .lines import Line", "cart/lines.py": "from . import Cart"},
    )

    assert found.circles == [["shop.cart", "shop.cart.lines"]]


def test_chain_of_imports_is_not_a_circle(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path, {"a.py": "from . import b", "b.py": "from . import c", "c.py": ""}
    )

    assert found.circles == []


def test_import_depth_is_the_longest_path_below_the_package_root(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path,
        {
            "__init__.py": "from .a import x",
            "a.py": "from .b import x\nfrom .d import x",
            "b.py": "from .c import x",
            "c.py": "from .b import y\nfrom .d import x",
            "d.py": "x = 1",
        },
    )

    assert found.import_depth == 2, "a to the circle of b and c, which goes to d"


def test_small_module_with_one_user_is_reported_with_its_user(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path,
        {
            "tiny.py": "def tiny() -> None: ...",
            "unused.py": "def unused() -> None: ...",
            "shared.py": "def shared() -> None: ...",
            "big.py": BIG,
            "user.py": f"from .tiny import tiny\nfrom .shared import shared\n{BIG}",
            "other.py": f"from .shared import shared\nfrom .big import line_1\n{BIG}",
        },
    )

    assert found.small_modules == {"shop.tiny": ["shop.user"], "shop.unused": []}


def test_user_of_a_small_module_in_another_package_counts(tmp_path: Path) -> None:
    core = write_package(tmp_path, {"tiny.py": "", "user.py": f"from . import tiny\n{BIG}"})
    adapter = write_package(tmp_path, {"row.py": f"from shop.tiny import x\n{BIG}"}, "adapter")

    assert measure([core])["shop"].small_modules == {"shop.tiny": ["shop.user"]}
    assert measure([core, adapter])["shop"].small_modules == {}


@pytest.mark.parametrize(
    "path",
    [
        "ports/goods.py",
        "adapters/memory/goods.py",
        "testing/goods.py",
        "testing/contracts/goods.py",
        "outbox/statements.py",
        "outbox_sql.py",
        "migrations/goods_1.py",
    ],
)
def test_module_in_an_excepted_folder_may_be_small(tmp_path: Path, path: str) -> None:
    assert measure_files(tmp_path, {path: "x = 1"}).small_modules == {}


@pytest.mark.parametrize(
    "text", ["class Cart: ...", "def Cart() -> None: ...", "Cart = dict", "Cart: type = dict"]
)
def test_module_with_a_public_name_may_be_small(tmp_path: Path, text: str) -> None:
    root = f'from .goods.cart import Cart\n__all__ = ["Cart"]\n{BIG}'

    assert measure_files(tmp_path, {"__init__.py": root, "goods/cart.py": text}).small_modules == {}


def test_name_that_only_a_test_kit_exports_is_not_public(tmp_path: Path) -> None:
    kit = 'from ..cart import Cart\n__all__ = ["Cart"]'

    found = measure_files(tmp_path, {"testing/__init__.py": kit, "cart.py": "class Cart: ..."})

    assert found.small_modules == {"shop.cart": ["shop.testing"]}


def test_module_that_needs_an_extra_may_be_small(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path, {"maps.py": "import map_library.tiles", "plain.py": "import json.tool"}
    )

    assert found.small_modules == {"shop.plain": []}


def test_any_and_its_aliases_are_counted_over_all_modules(tmp_path: Path) -> None:
    found = measure_files(
        tmp_path,
        {
            "json_value.py": "import typing\nfrom typing import Any, Any as Value\nJson = Any\n",
            "goods.py": "from .json_value import Json\n"
            "def load(x: Json, y: dict[str, Value]) -> typing.Any: ...\n",
        },
    )

    assert found.any_uses == 1 + 1 + 3, "the alias, its name, and three in the signature"
    assert found.any_rate == pytest.approx(1000 * found.any_uses / found.code_lines)


def test_other_types_are_not_counted_as_any(tmp_path: Path) -> None:
    assert (
        measure_files(tmp_path, {"goods.py": "def load(x: object) -> Anything: ..."}).any_uses == 0
    )


def test_function_over_thirty_lines_is_reported_with_its_line(tmp_path: Path) -> None:
    fits = "def fits() -> None:\n" + LONG_BODY.replace("    ...\n", "", 1)
    long = "    async def load(self) -> None:\n" + 30 * "        ...\n"

    found = measure_files(tmp_path, {"goods.py": f"{fits}class Goods:\n{long}"})

    assert found.functions == 2
    assert found.long_functions == ["shop.goods:32 load"]


def test_structure_table_shows_the_measures_of_a_base_and_of_today(tmp_path: Path) -> None:
    before = measure([write_package(tmp_path / "before", {"goods.py": "import json\nx = json\n"})])
    after = measure([write_package(tmp_path / "after", {"goods.py": BIG})])

    rows = {line.rsplit("  ", 1)[0].strip(): line for line in table(after, before).splitlines()}

    assert rows["code lines"].endswith("  2 -> 40")
    assert rows["share of import lines"].endswith("  50.0% -> 0.0%")


def test_structure_table_names_each_finding(tmp_path: Path) -> None:
    files = {
        "cart.py": f"from . import line\n{BIG}def long() -> None:\n{LONG_BODY}",
        "line.py": "from . import cart",
    }

    text = table(measure([write_package(tmp_path, files)]))

    assert "circle: shop.cart, shop.line" in text
    assert "small module: shop.line, imported by shop.cart" in text


@pytest.mark.full
def test_structure_command_prints_json_with_the_measures_of_a_revision() -> None:
    sides = json.loads(main(["--json", "--base", "HEAD"]))

    names = {package.name for package in PACKAGES}
    assert set(sides) == {"before", "after"}
    assert set(sides["after"]) == names
    assert set(sides["before"]) == names
    assert sides["before"]["cqrs-ddd-core"]["code_lines"] > 0
