"""Old names of renamed exports, which warn and still work."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typing_extensions import deprecated

from cqrs_ddd_core.primitives.lazy_exports import keep_old_names

ROOT = """\
from cqrs_ddd_core.primitives.lazy_exports import export_lazily, keep_old_names

__getattr__, __dir__ = export_lazily(__name__, "carts")
__getattr__ = keep_old_names(
    __name__, {"Basket": "Cart"}, removed_in="0.3", otherwise=__getattr__
)
"""
MESSAGE = "shop_of_test.Basket is now shop_of_test.Cart; version 0.3 removes the old name"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield a package with a lazy root that has renamed ``Basket`` to ``Cart``."""
    folder = tmp_path / "shop_of_test"
    folder.mkdir()
    (folder / "__init__.py").write_text(ROOT, "utf-8")
    (folder / "carts.py").write_text("class Cart:\n    pass\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_of_test")
    for name in [name for name in sys.modules if name.startswith("shop_of_test")]:
        del sys.modules[name]


def test_old_name_is_the_new_object_and_warns_of_each_use(shop: ModuleType) -> None:
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match="Basket") as warned:
            assert shop.Basket is shop.Cart

        assert [str(each.message) for each in warned] == [MESSAGE]
        assert [each.filename for each in warned] == [__file__]


def test_import_of_an_old_name_warns_at_the_line_of_the_import(
    shop: ModuleType, tmp_path: Path
) -> None:
    script = tmp_path / "application.py"
    script.write_text("print('start')\nfrom shop_of_test import Basket\n", "utf-8")

    done = subprocess.run(
        [sys.executable, "application.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stderr.splitlines()[0] == f"{script}:2: DeprecationWarning: {MESSAGE}"
    assert done.stderr.count("DeprecationWarning") == 1


def test_other_names_of_a_root_with_old_names_do_not_warn(shop: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shop.Cart.__name__ == "Cart"
        assert shop.__all__ == ["Cart"]
        assert not hasattr(shop, "Order")


def test_module_without_lazy_exports_keeps_an_old_name(shop: ModuleType) -> None:
    carts = sys.modules["shop_of_test.carts"] = importlib.import_module("shop_of_test.carts")
    get_attribute = keep_old_names("shop_of_test.carts", {"Basket": "Cart"}, removed_in="0.3")

    with pytest.warns(DeprecationWarning, match=r"0\.3 removes"):
        assert get_attribute("Basket") is carts.Cart
    with pytest.raises(AttributeError, match="has no attribute 'Order'"):
        get_attribute("Order")


def test_decorator_for_deprecated_functions_warns_at_the_line_of_the_caller() -> None:
    @deprecated("use pay_order; version 0.3 removes pay")
    def pay() -> str:
        return "paid"

    with pytest.warns(DeprecationWarning, match="use pay_order; version 0.3 removes pay") as warned:
        assert pay() == "paid"  # type: ignore[deprecated]

    assert [each.filename for each in warned] == [__file__]
