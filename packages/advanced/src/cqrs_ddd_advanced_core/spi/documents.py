"""Documents as JSON, and the checks of their ids and collections, for every store alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from cqrs_ddd_core.primitives.exceptions import SerializationError
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..exceptions import DocumentError, ProjectionStoreError
from ..ports.projections import MAX_COLLECTION_NAME, Document, JsonDocument
from .document_fields import DocumentFields

MAX_DOC_ID = 1_000
"""Bytes, since the id is a key of an index."""

_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{MAX_COLLECTION_NAME - 1}}}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class EncodedDocument(NamedTuple):
    """A document as JSON, with the values of the declared fields."""

    doc_id: str
    document: bytes
    values: Mapping[str, Any]

    def decode(self) -> JsonDocument:
        return decode_document(self.document)


def encode_document(
    collection: str, doc_id: str, doc: Document, fields: DocumentFields
) -> EncodedDocument:
    """Return the document as JSON; raises ``DocumentError`` for one that cannot be stored."""
    name = f"the document {doc_id!r} in {collection}"
    if not is_valid_doc_id(doc_id):
        raise DocumentError(
            f"{doc_id!r} cannot be an id in {collection}; it is a text of 1 to {MAX_DOC_ID:,} "
            "bytes, without NUL and halves of surrogate pairs",
            collection=collection,
            doc_id=str(doc_id),
        )
    try:
        document = encode_json(doc, name, type_name=collection)
    except SerializationError as error:
        raise DocumentError(str(error), collection=collection, doc_id=doc_id) from error
    problem = _find_problem(document)
    if problem is not None:
        raise DocumentError(f"{name} {problem}", collection=collection, doc_id=doc_id)
    return EncodedDocument(doc_id, document, fields.extract_values(document, collection, doc_id))


def decode_document(document: bytes | str) -> JsonDocument:
    decoded: JsonDocument = from_json(document)
    return decoded


def is_valid_doc_id(doc_id: object) -> bool:
    if not isinstance(doc_id, str) or not doc_id or "\x00" in doc_id:
        return False
    try:
        return len(doc_id.encode()) <= MAX_DOC_ID
    except UnicodeEncodeError:
        return False


def filter_doc_ids(doc_ids: Iterable[str]) -> list[str]:
    """Return each valid id once; no document has another one."""
    return [doc_id for doc_id in dict.fromkeys(doc_ids) if is_valid_doc_id(doc_id)]


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


def _find_problem(document: bytes) -> str | None:
    if not document.startswith(b"{"):
        return "is no object of JSON; give it a mapping"
    if b"\\u0000" in document and _NUL.search(document):
        return "has a text with NUL, which PostgreSQL does not keep; leave the character out"
    return None
