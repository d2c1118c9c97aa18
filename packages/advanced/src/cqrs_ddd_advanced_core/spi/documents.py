"""Conversion of documents to JSON, with checks of document ids and collection names."""

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
"""Bytes of a document id at most; the id is the key of an index."""

_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{MAX_COLLECTION_NAME - 1}}}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class EncodedDocument(NamedTuple):
    """Document as JSON, with the values of its declared fields.

    Attributes:
        doc_id: id of the document.
        document: the document as JSON text in UTF-8.
        values: value of each declared field, None for a missing one.
    """

    doc_id: str
    document: bytes
    values: Mapping[str, Any]

    def decode(self) -> JsonDocument:
        """Return a new copy of the document, as JSON restores it."""
        return decode_document(self.document)


def encode_document(
    collection: str, doc_id: str, doc: Document, fields: DocumentFields
) -> EncodedDocument:
    """Convert a document to JSON and read its declared fields.

    Raises:
        DocumentError: the id is not valid, the document is not a JSON object, or the value of a
            declared field has another type.
    """
    name = f"the document {doc_id!r} in {collection}"
    if not is_valid_doc_id(doc_id):
        raise DocumentError(
            f"{doc_id!r} cannot be an id in {collection}; use a text of 1 to {MAX_DOC_ID:,} "
            "bytes, without NUL and without surrogates",
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
    """Return a stored document, in which times and decimals are texts."""
    decoded: JsonDocument = from_json(document)
    return decoded


def is_valid_doc_id(doc_id: object) -> bool:
    """Report whether the value is a text of 1 to 1,000 bytes that every database keeps."""
    if not isinstance(doc_id, str) or not doc_id or "\x00" in doc_id:
        return False
    try:
        return len(doc_id.encode()) <= MAX_DOC_ID
    except UnicodeEncodeError:
        return False


def filter_doc_ids(doc_ids: Iterable[str]) -> list[str]:
    """Return each valid id once; an invalid id has no document."""
    return [doc_id for doc_id in dict.fromkeys(doc_ids) if is_valid_doc_id(doc_id)]


def ensure_collection_name(collection: object) -> None:
    """Raise ``ProjectionStoreError`` unless the text can be part of the name of a table."""
    if not isinstance(collection, str) or not _NAME.fullmatch(collection):
        raise ProjectionStoreError(
            f"{collection!r} cannot be the name of a collection; use lower-case letters, digits "
            f"and underscores, no digit first, and at most {MAX_COLLECTION_NAME} characters"
        )


def ensure_other_collection(collection: str, by: str) -> None:
    """Raise ``ProjectionStoreError`` if a collection would replace itself."""
    if collection == by:
        raise ProjectionStoreError(
            f"cannot replace {collection} by itself; build another collection for it"
        )


def _find_problem(document: bytes) -> str | None:
    if not document.startswith(b"{"):
        return "is not a JSON object; pass a mapping"
    if b"\\u0000" in document and _NUL.search(document):
        return "has a text with NUL, which PostgreSQL cannot store; remove the character"
    return None
