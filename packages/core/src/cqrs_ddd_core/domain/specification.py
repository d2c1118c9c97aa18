"""What a query asks for, as far as a repository has to know it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import typing_extensions

    T_contra = typing_extensions.TypeVar("T_contra", contravariant=True, default=Any)
else:
    T_contra = TypeVar("T_contra", contravariant=True)


@runtime_checkable
class ISpecification(Protocol[T_contra]):
    """A condition that an object satisfies or not."""

    @abstractmethod
    def is_satisfied_by(self, candidate: T_contra) -> bool: ...


@runtime_checkable
class ICompiledSpecification(ISpecification[T_contra], Protocol[T_contra]):
    """A specification that can be asked once for the whole of a search."""

    @abstractmethod
    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        """The condition for objects of one class; raises ``ValidationError`` for what the class
        cannot be asked."""
        ...


@runtime_checkable
class IQueryOptions(Protocol[T_contra]):
    """A condition with order and page.

    ``ordering`` names attributes, the most significant first, ``-`` before a name for descending;
    None sorts after every value, so it comes last ascending and first descending.
    """

    @property
    @abstractmethod
    def specification(self) -> ISpecification[T_contra] | None: ...

    @property
    @abstractmethod
    def condition(self) -> ISpecification[T_contra] | None:
        """What a row must satisfy to be on the page: the specification, and more on a page that
        comes after another one."""
        ...

    @property
    @abstractmethod
    def ordering(self) -> Sequence[str]: ...

    @property
    @abstractmethod
    def limit(self) -> int | None: ...

    @property
    @abstractmethod
    def offset(self) -> int: ...

    @abstractmethod
    def with_specification(self, specification: ISpecification | None) -> "IQueryOptions[T_contra]":
        """The same options with another specification."""
        ...
