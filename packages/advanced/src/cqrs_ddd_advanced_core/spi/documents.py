"""Documents and the names of their places, judged alike by every store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from cqrs_ddd_core.primitives.exceptions import SerializationError
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..exceptions import DocumentError, ProjectionStoreError
from ..ports.projections import MAX_COLLECTION_NAME, Document
from .document_fields import DocumentFields

MAX_DOC_ID = 1_000
"""Bytes, since it is a key of an index."""

_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{MAX_COLLECTION_NAME - 1}}}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class WrittenDocument(NamedTuple):
    """A document as JSON, with the values of the declared fields."""

    doc_id: str
    document: bytes
    values: Mapping[str, Any]

    def read(self) -> dict[str, Any]:
        return read_document(self.document)


def written_document(
    collection: str, doc_id: str, doc: Document, fields: DocumentFields
) -> WrittenDocument:
    """Raises ``DocumentError`` for what cannot be kept."""
    if not is_possible_id(doc_id):
        raise DocumentError(
            f"{doc_id!r} cannot be an id in {collection}; it is a text of 1 to {MAX_DOC_ID:,} "
            "bytes, without NUL and halves of surrogate pairs",
            collection=collection,
            doc_id=str(doc_id),
        )
    try:
        document = encode_json(
            doc, f"the document {doc_id!r} in {collection}", type_name=collection
        )
        problem = _problem_of(document)
    except SerializationError as error:
        raise DocumentError(str(error), collection=collection, doc_id=doc_id) from error
    if problem is not None:
        raise DocumentError(
            f"the document {doc_id!r} in {collection} {problem}",
            collection=collection,
            doc_id=doc_id,
        )
    return WrittenDocument(doc_id, document, fields.values_in(document, collection, doc_id))


def read_document(document: bytes | str) -> dict[str, Any]:
    read: dict[str, Any] = from_json(document)
    return read


def is_possible_id(doc_id: object) -> bool:
    """Whether a document can have the id."""
    if not isinstance(doc_id, str) or not doc_id or "\x00" in doc_id:
        return False
    try:
        return len(doc_id.encode()) <= MAX_DOC_ID
    except UnicodeEncodeError:
        return False


def possible_ids(doc_ids: Iterable[str]) -> list[str]:
    """Each once; what can be no id is of no document."""
    return [doc_id for doc_id in dict.fromkeys(doc_ids) if is_possible_id(doc_id)]


def ensure_collection_name(collection: object) -> None:
    """Raise ``ProjectionStoreError`` unless the name is usable as that of a table."""
    if not isinstance(collection, str) or not _NAME.fullmatch(collection):
        raise ProjectionStoreError(
            f"{collection!r} cannot be the name of a collection; use lower-case letters, digits "
            f"and underscores, no digit first, and at most {MAX_COLLECTION_NAME} characters"
        )


def ensure_other_collection(collection: str, by: str) -> None:
    """Raise ``ProjectionStoreError`` for a collection that would replace itself."""
    if collection == by:
        raise ProjectionStoreError(
            f"cannot replace {collection} by itself; build another collection for it"
        )


def _problem_of(document: bytes) -> str | None:
    if not document.startswith(b"{"):
        return "is no object of JSON; give it a mapping"
    if b"\\u0000" in document and _NUL.search(document):
        return "has a text with NUL, which PostgreSQL does not keep; leave the character out"
    return None
