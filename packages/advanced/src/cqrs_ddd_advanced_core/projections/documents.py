"""The documents of a collection, as a projection sees them while it takes events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic_core import from_json, to_json

from cqrs_ddd_core.primitives.exceptions import SerializationError
from cqrs_ddd_core.spi.json_fidelity import encode_json

from ..exceptions import ProjectionError

Kept = bytes | None
"""A document as JSON; None for one that is not there."""


class ProjectionDocuments:
    """Reads what is stored and what earlier events have changed; changes are written in one go.

    A handler gets copies: what it changes counts when it is given to ``upsert``.
    """

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._read: dict[str, dict[str, Any] | None] = {}
        self._changed: dict[str, Kept] = {}
        self._by_event: dict[str, Kept] = {}
        self._ids: Collection[str] = ()

    def get(self, doc_id: str) -> dict[str, Any] | None:
        """The document, as JSON makes it; None where there is none."""
        self._ensure_affected(doc_id)
        for changes in (self._by_event, self._changed):
            if doc_id in changes:
                kept = changes[doc_id]
                return None if kept is None else _document(kept)
        stored = self._read[doc_id]
        return None if stored is None else _document(to_json(stored))

    def upsert(self, doc_id: str, doc: Mapping[str, Any]) -> None:
        """Instead of the one that has the id; raises ``SerializationError``."""
        self._ensure_affected(doc_id)
        self._by_event[doc_id] = self._encode(doc_id, doc)

    def delete(self, doc_id: str) -> None:
        """That there is none already is fine."""
        self._ensure_affected(doc_id)
        self._by_event[doc_id] = None

    def begin(self, ids: Collection[str]) -> None:
        """What follows is done by one event, which concerns these documents."""
        self._ids, self._by_event = ids, {}

    def end(self, *, keeps: bool) -> None:
        """All that the event has changed is kept, or nothing where its handler failed."""
        if keeps:
            self._changed.update(self._by_event)
        self._ids, self._by_event = (), {}

    def unread(self, ids: Iterable[str]) -> set[str]:
        """Those that were not read yet."""
        return {each for each in ids if each not in self._read}

    def read(self, ids: Collection[str], found: Mapping[str, dict[str, Any]]) -> None:
        """What the store has under the ids."""
        for each in ids:
            self._read[each] = found.get(each)

    @property
    def upserted(self) -> dict[str, dict[str, Any]]:
        """By id, in their order: two that write the same documents do not wait crosswise."""
        return {
            each: _document(kept)
            for each, kept in sorted(self._changed.items())
            if kept is not None
        }

    @property
    def deleted(self) -> list[str]:
        """Those that were stored, and are not to be any more."""
        return sorted(
            each
            for each, kept in self._changed.items()
            if kept is None and self._read[each] is not None
        )

    def _ensure_affected(self, doc_id: str) -> None:
        if doc_id not in self._ids:
            raise ProjectionError(
                f"the event is said to concern {', '.join(sorted(self._ids)) or 'no document'} of "
                f"{self._collection}, not {doc_id!r}; answer it in ids_of(event), too"
            )

    def _encode(self, doc_id: str, doc: object) -> bytes:
        # A pydantic model would be written as well, and be read back as something else.
        if not isinstance(doc, Mapping):
            raise SerializationError(
                f"{self._collection} {doc_id} is {type(doc).__name__}, not a dict; give its "
                "model_dump()",
                type_name=self._collection,
            )
        return encode_json(doc, f"{self._collection} {doc_id}", type_name=self._collection)


def _document(kept: bytes) -> dict[str, Any]:
    document: dict[str, Any] = from_json(kept)
    return document
