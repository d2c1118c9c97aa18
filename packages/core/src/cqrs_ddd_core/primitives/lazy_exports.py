"""Exports of a package root that are imported when they are first used."""

import inspect
import sys
from collections.abc import Callable, Iterator
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
