"""Exports of a package root that are imported when they are first used, and their old names."""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType


def export_lazily(root: str, *modules: str) -> tuple[Callable[[str], object], Callable[[], object]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that exports the names of its modules.

    ::

        if TYPE_CHECKING:
            from .domain import *
        else:
            __getattr__, __dir__ = export_lazily(__name__, "domain")

    A module exports its ``__all__``, or else its constant texts and the classes and functions that
    it defines. Modules are searched in the given order, so list the modules that are needed most
    first.
    """
    names = vars(sys.modules[root])

    def get_attribute(name: str) -> object:
        if name == "__all__":
            exported = (_list_exported(_import(f"{root}.{each}")) for each in modules)
            names[name] = sorted({name for each in exported for name in each})
            return names[name]
        # The import system looks up submodules and dunder names, too.
        if not name.startswith("_") and name not in modules:
            for each in modules:
                module = _import(f"{root}.{each}")
                if name in _list_exported(module):
                    names[name] = value = getattr(module, name)
                    return value
        raise AttributeError(f"module {root!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        return sorted({*names, *import_module(root).__all__})

    return get_attribute, list_names


def keep_old_names(
    root: str,
    renamed: Mapping[str, str],
    *,
    removed_in: str,
    otherwise: Callable[[str], object] | None = None,
) -> Callable[[str], object]:
    """Return ``__getattr__`` of a module or package where renamed exports keep their old names.

    ::

        __getattr__, __dir__ = export_lazily(__name__, "domain")
        __getattr__ = keep_old_names(
            __name__, {"Basket": "Cart"}, removed_in="0.3", otherwise=__getattr__
        )

    Each use of an old name emits a `DeprecationWarning` at the line of the caller. The old names
    are not in ``__all__``. Declare them for type checkers under ``if TYPE_CHECKING:``, as a
    subclass or function with the decorator ``typing_extensions.deprecated``, so that they report
    each use, too.

    Args:
        root: Name of the module that has the new names.
        renamed: New name of each old name.
        removed_in: Version that removes the old names.
        otherwise: ``__getattr__`` that finds all other names.
    """

    def get_attribute(name: str) -> object:
        if name in renamed:
            new_name = f"{root}.{renamed[name]}"
            message = f"{root}.{name} is now {new_name}; version {removed_in} removes the old name"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[root], renamed[name])
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {root!r} has no attribute {name!r}")

    return get_attribute


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except AttributeError as error:
        # An import statement would report an AttributeError as a missing name of the root.
        raise ImportError(f"cannot import {name}: {error}", name=name) from error


def _list_exported(module: ModuleType) -> list[str]:
    return getattr(module, "__all__", None) or list(_iterate_defined(module))


def _iterate_defined(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        is_definition = inspect.isclass(value) or inspect.isfunction(value)
        is_own = is_definition and value.__module__.startswith(module.__name__)
        if name[0] != "_" and (is_own or (isinstance(value, str) and name.isupper())):
            yield name
