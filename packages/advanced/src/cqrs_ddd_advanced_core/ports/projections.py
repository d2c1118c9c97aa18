"""Documents that projections write and queries read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from cqrs_ddd_core.domain.specification import IQueryOptions, ISpecification
from cqrs_ddd_core.ports.search_result import SearchResult
from cqrs_ddd_core.ports.unit_of_work import UnitOfWork

Document = Mapping[str, Any]
"""What becomes JSON; it is read back as the dict that JSON makes of it."""

DOC_ID = "doc_id"
"""A field that every collection has, for specifications and orders: the id, as text."""

MAX_COLLECTION_NAME = 48
"""With the prefix of the tables it is the name of a table, which has 63 bytes on PostgreSQL."""

Fields = Mapping[str, Any]
"""Names at the top of a document, and the types of their values.

A type is ``str``, ``int``, ``float``, ``bool``, ``Decimal``, ``datetime``, ``date``, ``UUID``, or
``dict`` and ``list`` for JSON. A decimal has 18 digits, 6 of them after the point, unless it is
annotated with ``pydantic.Field(max_digits=..., decimal_places=...)``; a text has 2,000 bytes at
most, since it is indexed.
"""


@runtime_checkable
class IProjectionStore(Protocol):
    """Collections of documents, each under an id of its own, a text of 1,000 bytes at most.

    The name of a collection has small letters, digits and underscores, 48 at most.

    Fields that a collection declares are indexed, and are what specifications and orders may name;
    they mean there what they mean over columns, and a field that a document lacks is None.

    ``uow`` is the unit of work to take part in: the one given, else the open one of the running
    command, else a short one of its own. Raises ``ProjectionStoreError`` for a collection that
    nobody has ensured, ``DocumentError`` for a document that is not JSON, or whose declared fields
    are not of their types, and then nothing is written; and ``ConcurrencyError`` where a collection
    is replaced meanwhile.
    """

    @abstractmethod
    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        """Make it unless it is there, in a transaction of its own; any number may do so at once.

        Raises ``ProjectionStoreError`` for one that is there with other fields, or with some where
        none are given, and ``ConfigError`` for what cannot be a field.
        """
        ...

    @abstractmethod
    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        """Keep the document, instead of the one that has the id."""
        ...

    @abstractmethod
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        """All or none, by id."""
        ...

    @abstractmethod
    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> dict[str, Any] | None: ...

    @abstractmethod
    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, dict[str, Any]]:
        """By id, in the order asked for, in one read; absent ones are left out."""
        ...

    @abstractmethod
    async def find(
        self,
        collection: str,
        criteria: ISpecification[Any] | IQueryOptions[Any],
        *,
        uow: UnitOfWork | None = None,
    ) -> SearchResult[dict[str, Any]]:
        """Equals of an order, and pages without one, go by id. ``stream`` holds one batch at a
        time. Raises ``ValidationError`` for a field that is not declared."""
        ...

    @abstractmethod
    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        """Afterwards there is none; that there was none already is fine."""
        ...

    @abstractmethod
    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None: ...

    @abstractmethod
    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        """Afterwards it has no documents; those who read meanwhile see all or none."""
        ...

    @abstractmethod
    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        """Afterwards there is no such collection; in a transaction of its own. That there was none
        already is fine."""
        ...

    @abstractmethod
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        """For who reads a document and writes what follows from it: of two that lock the same id,
        there or not, one waits until the other has ended, or fails with ``ConcurrencyError``.
        """
        ...

    @abstractmethod
    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        """At the commit ``collection`` has the documents and fields of ``by``, and ``by`` is gone.

        Readers see the old documents or the new ones, at no time fewer. ``collection`` need not
        have been there. Raises ``ConcurrencyError`` where others use one of them for too long.
        """
        ...


@runtime_checkable
class IProjectionStoreProvider(Protocol):
    """A unit of work that carries a projection store."""

    @property
    @abstractmethod
    def projections(self) -> IProjectionStore: ...
