"""Protocols of specifications and query options, as far as a repository needs them."""

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
    """Condition that an object satisfies or does not satisfy."""

    @abstractmethod
    def is_satisfied_by(self, candidate: T_contra) -> bool:
        """Return whether the candidate satisfies the condition."""
        ...


@runtime_checkable
class ICompiledSpecification(ISpecification[T_contra], Protocol[T_contra]):
    """Specification that a search compiles once for all its objects."""

    @abstractmethod
    def predicate_for(self, candidates: type) -> Callable[[Any], bool]:
        """Return the condition as a function for objects of one class.

        Raises:
            ValidationError: the class does not have the attributes that the condition reads.
        """
        ...


@runtime_checkable
class IQueryOptions(Protocol[T_contra]):
    """Specification with order and page."""

    @property
    @abstractmethod
    def specification(self) -> ISpecification[T_contra] | None:
        """Specification that the rows satisfy, or None for all rows."""
        ...

    @property
    @abstractmethod
    def condition(self) -> ISpecification[T_contra] | None:
        """Condition of the rows on the page.

        The specification, and on a page after another one also the start of the page.
        """
        ...

    @property
    @abstractmethod
    def ordering(self) -> Sequence[str]:
        """Names of attributes to order by, the most significant first.

        ``-`` before a name means descending. None sorts after every value, so it comes last
        ascending and first descending.
        """
        ...

    @property
    @abstractmethod
    def limit(self) -> int | None:
        """Largest number of rows, or None for no limit."""
        ...

    @property
    @abstractmethod
    def offset(self) -> int:
        """Number of rows to skip."""
        ...

    @abstractmethod
    def with_specification(self, specification: ISpecification | None) -> "IQueryOptions[T_contra]":
        """Return the same options with another specification."""
        ...
