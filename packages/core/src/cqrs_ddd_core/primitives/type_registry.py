"""Registry of classes by name: a stored name is never a path to import."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from .exceptions import DuplicateTypeError, UnknownTypeError

T = TypeVar("T")


class TypeRegistry(Generic[T]):
    """Registry of classes by name.

    Args:
        kind: word for an entry in error messages.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._types: dict[str, type[T]] = {}

    def add(self, name: str, type_: type[T]) -> None:
        """Register a class under a name.

        Raises:
            DuplicateTypeError: this or another class is registered under the name.
        """
        holder = self._types.get(name)
        if holder is not None:
            advice = (
                "register it once"
                if holder is type_
                else f"give {_get_path(type_)} a name of its own"
            )
            raise DuplicateTypeError(
                f"{self._kind} {name!r} is already {_get_path(holder)}; {advice}", name=name
            )
        self._types[name] = type_

    def get(self, name: str) -> type[T]:
        """Return the class with the name.

        Raises:
            UnknownTypeError: no class is registered under the name; the error lists similar names.
        """
        try:
            return self._types[name]
        except KeyError:
            near = get_close_matches(name, self._types, n=3) or sorted(self._types)[:10]
            raise UnknownTypeError(
                f"no {self._kind} {name!r} is registered; "
                f"there is {', '.join(near) or 'none yet'}; register the class first",
                name=name,
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[type[T]]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)


def _get_path(type_: type) -> str:
    return f"{type_.__module__}.{type_.__qualname__}"
