"""Documents of projections."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from cqrs_ddd_core.ports import SearchResult, UnitOfWork

from .persistence import Condition

Document = Mapping[str, Any]
"""Document that is stored as JSON."""

JsonDocument = dict[str, Any]
"""Document as JSON restores it: times and decimals are texts."""

DOC_ID = "doc_id"
"""Field of every collection that holds the id, as text, for specifications and orders."""

MAX_COLLECTION_NAME = 48
"""Characters; with the prefix of the tables it is the name of a table: 63 bytes on PostgreSQL."""

Fields = Mapping[str, Any]
"""Names at the top of a document, and the types of their values.

A type is ``str``, ``int``, ``float``, ``bool``, ``Decimal``, ``datetime``, ``date``, ``UUID``, or
``dict`` and ``list`` for JSON. A decimal has 18 digits, 6 of them after the point, unless it is
annotated with ``pydantic.Field(max_digits=..., decimal_places=...)``; a text has 2,000 bytes at
most, since it is indexed.
"""


@runtime_checkable
class IProjectionStore(Protocol):
    """Store of collections of documents, each under its id, a text of 1,000 bytes at most.

    The name of a collection has lower-case letters, digits and underscores, 48 at most. The
    declared fields of a collection are indexed, and specifications and orders may use only these;
    they compare as columns do, and a missing field is None.

    The unit of work is the argument ``uow``, or else the current one, or else a new one for this
    call.

    Raises:
        ProjectionStoreError: for a collection that does not exist.
        DocumentError: before anything is written, for a document that is not JSON, or whose
            declared fields have values of other types.
        ConcurrencyError: if the collection is replaced meanwhile.
    """

    @abstractmethod
    async def ensure_collection(self, collection: str, fields: Fields | None = None) -> None:
        """Create the collection unless it exists, in a transaction of its own.

        Any number of callers may do so at once.

        Raises:
            ProjectionStoreError: if the collection exists with other fields.
            ConfigError: for a type that a field cannot have.
        """
        ...

    @abstractmethod
    async def upsert(
        self, collection: str, doc_id: str, doc: Document, *, uow: UnitOfWork | None = None
    ) -> None:
        """Store the document, in place of the one under the same id."""
        ...

    @abstractmethod
    async def upsert_batch(
        self, collection: str, docs: Mapping[str, Document], *, uow: UnitOfWork | None = None
    ) -> None:
        """Store documents by id, all of them or none."""
        ...

    @abstractmethod
    async def get(
        self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None
    ) -> JsonDocument | None: ...

    @abstractmethod
    async def get_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> dict[str, JsonDocument]:
        """Return the documents that exist, by id, in the order of the ids, in one read."""
        ...

    @abstractmethod
    async def find(
        self, collection: str, criteria: Condition, *, uow: UnitOfWork | None = None
    ) -> SearchResult[JsonDocument]:
        """Search by declared fields; ``stream`` holds one batch at a time.

        Documents that are equal in the order come by id, as do pages without an order.

        Raises:
            ValidationError: for a field that is not declared.
        """
        ...

    @abstractmethod
    async def delete(self, collection: str, doc_id: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete the document if it exists."""
        ...

    @abstractmethod
    async def delete_batch(
        self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork | None = None
    ) -> None: ...

    @abstractmethod
    async def truncate_collection(self, collection: str, *, uow: UnitOfWork | None = None) -> None:
        """Delete all documents; a concurrent reader sees all of them or none."""
        ...

    @abstractmethod
    async def drop_collection(self, collection: str, *, uow: UnitOfWork) -> None:
        """Delete the collection if it exists."""
        ...

    @abstractmethod
    async def lock(self, collection: str, doc_ids: Collection[str], *, uow: UnitOfWork) -> None:
        """Lock ids, whether or not their documents exist, before reading what is written back.

        Of two transactions that lock the same id, one waits until the other has ended, or fails
        with ``ConcurrencyError``.
        """
        ...

    @abstractmethod
    async def replace_collection(self, collection: str, by: str, *, uow: UnitOfWork) -> None:
        """Give ``collection`` the documents and fields of ``by`` at the commit, and delete ``by``.

        Readers see the old documents or the new ones, at no time fewer. ``collection`` need not
        exist.

        Raises:
            ConcurrencyError: if other transactions use one of them for too long.
        """
        ...


@runtime_checkable
class IProjectionStoreProvider(Protocol):
    """Unit of work that carries a projection store."""

    @property
    @abstractmethod
    def projections(self) -> IProjectionStore: ...
