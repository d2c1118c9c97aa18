"""Port of projection stores, and the types of their documents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from cqrs_ddd_core.ports import SearchResult, UnitOfWork

from .persistence import Condition

Document = Mapping[str, Any]
"""Document to be stored as JSON."""

JsonDocument = dict[str, Any]
"""Document as JSON restores it, in which times and decimals are texts."""

DOC_ID = "doc_id"
"""Field that every collection has: the id as text, for specifications and orderings."""

MAX_COLLECTION_NAME = 48
"""Characters at most; with the prefix it names a table, which has 63 bytes on PostgreSQL."""

Fields = Mapping[str, Any]
"""Declared fields: top-level names of a document, with the types of their values.

A type is ``str``, ``int``, ``float``, ``bool``, ``Decimal``, ``datetime``, ``date``, ``UUID``, or
``dict`` and ``list`` for JSON. A decimal has 18 digits, 6 of them after the point, unless it is
annotated with ``pydantic.Field(max_digits=..., decimal_places=...)``; a text has 2,000 bytes at
most, since it is indexed.
"""


@runtime_checkable
class IProjectionStore(Protocol):
    """Store of collections of documents; an id is a text of 1,000 bytes at most.

    All tenants share a collection and its fields; each tenant has its own documents in it, and
    calls that name or search documents concern the tenant of the running request.

    The name of a collection has lower-case letters, digits and underscores, 48 at most. The
    declared fields of a collection are indexed, and specifications and orderings may use only
    these; they compare as database columns do, and a missing field is None.

    The unit of work is the argument ``uow``, or else the current one, or else a new one for this
    call.

    Raises:
        ProjectionStoreError: the collection does not exist.
        DocumentError: a document is not JSON, or the value of a declared field has another type;
            nothing is written.
        ConcurrencyError: another transaction replaces the collection before this one ends.
        InvalidOperationError: a call that names or searches documents is inside ``system_tenant``.
    """

    @abstractmethod
    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        """Create the collection unless it exists, in a transaction of its own.

        Concurrent calls are safe.

        Args:
            collection: name of the collection.
            fields: fields for specifications and orderings, with their types; None accepts an
                existing collection with any fields, and creates one without fields.

        Raises:
            ProjectionStoreError: the collection exists with other fields.
            ConfigError: a field cannot have this type.
        """
        ...

    @abstractmethod
    async def open_collection(
        self, collection: str, fields: Fields | None = None, *, uow: UnitOfWork
    ) -> bool:
        """Create the collection in a unit of work, unless it exists with any fields.

        Args:
            collection: name of the collection.
            fields: fields of a new collection.
            uow: unit of work; after its rollback the collection may exist.

        Returns:
            Whether the collection exists now; False only in a read-only unit of work.

        Raises:
            ConfigError: a field cannot have this type.
        """
        ...

    @abstractmethod
    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        """Store a document; replace the document with the same id."""
        ...

    @abstractmethod
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        """Store documents by id, either all of them or none."""
        ...

    @abstractmethod
    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> JsonDocument | None:
        """Return a document, or None if it does not exist."""
        ...

    @abstractmethod
    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, JsonDocument]:
        """Return the documents that exist, by id, in the order of the ids, with one query."""
        ...

    @abstractmethod
    async def find(
        self, collection: str, criteria: Condition, *, uow: UnitOfWork | None = None
    ) -> SearchResult[JsonDocument]:
        """Search by declared fields; ``stream`` keeps one batch in memory at a time.

        Documents that are equal in the order are sorted by id, as are pages without an order.

        Raises:
            ValidationError: a field is not declared.
        """
        ...

    @abstractmethod
    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete the document if it exists."""
        ...

    @abstractmethod
    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None:
        """Delete the documents that exist."""
        ...

    @abstractmethod
    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete all documents; a concurrent reader sees either all of them or none.

        The call concerns the documents of the tenant of the running request, or those of all
        tenants inside ``system_tenant``.
        """
        ...

    @abstractmethod
    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        """Delete the collection, with the documents of all tenants, if it exists.

        Raises:
            InvalidOperationError: the call is in the request of one tenant.
        """
        ...

    @abstractmethod
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        """Lock ids before reading documents that are to be written back, even if they do not exist.

        If two transactions lock the same id, one waits until the other has ended, or fails with
        ``ConcurrencyError``.
        """
        ...

    @abstractmethod
    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        """Give ``collection`` the documents and fields of ``by`` at the commit, and delete ``by``.

        Readers see either the old documents or the new ones, and never an empty collection.
        ``collection`` need not exist. The documents of all tenants are replaced.

        Raises:
            InvalidOperationError: the call is in the request of one tenant.
            ConcurrencyError: other transactions use one of the collections for too long.
        """
        ...


@runtime_checkable
class IProjectionStoreProvider(Protocol):
    """Unit of work that carries a projection store."""

    @property
    @abstractmethod
    def projections(self) -> IProjectionStore:
        """Projection store that takes part in this unit of work."""
        ...
