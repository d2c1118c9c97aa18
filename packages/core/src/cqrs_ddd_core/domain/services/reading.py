"""How the services read: in batches, whatever a reader offers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, NoReturn, TypeVar

from ...primitives.exceptions import InvalidOperationError
from .acl import ACL
from .readers import (
    IACLReader,
    IAncestryReader,
    IAsyncACLReader,
    IAsyncAncestryReader,
    IAsyncBatchACLReader,
    IAsyncBatchParentReader,
    IAsyncBatchTagReader,
    IAsyncParentReader,
    IAsyncTagReader,
    IBatchACLReader,
    IBatchParentReader,
    IBatchTagReader,
    IParentReader,
    ITagReader,
    N,
)

T = TypeVar("T")

Tagged = tuple[tuple[str, ...], tuple[N, ...]]
Guarded = tuple[ACL | None, tuple[N, ...]]
Many = Callable[[Collection[N]], Mapping[N, T]]
AsyncMany = Callable[[Collection[N]], Awaitable[Mapping[N, T]]]

ParentReader = IParentReader[N] | IBatchParentReader[N]
TagReader = ITagReader[N] | IBatchTagReader[N]
ACLReader = IACLReader[N] | IBatchACLReader[N]
AsyncParentReader = IAsyncParentReader[N] | IAsyncBatchParentReader[N]
AsyncTagReader = IAsyncTagReader[N] | IAsyncBatchTagReader[N]
AsyncACLReader = IAsyncACLReader[N] | IAsyncBatchACLReader[N]

_SINGLE = ("get_parent_ids", "get_tags_and_parents", "get_acl_and_parents")
_READS = (*_SINGLE, *(f"{name}_many" for name in _SINGLE), "get_ancestry")


class BatchReader(Generic[N]):
    """Asks a reader for many nodes at once where it can, else node by node.

    What the reader cannot read raises ``InvalidOperationError``.
    """

    def __init__(self, reader: ParentReader[N] | TagReader[N] | ACLReader[N]) -> None:
        source: object = reader
        _ensure_kind(source, is_async=False)
        self.ancestry = source if isinstance(source, IAncestryReader) else None
        self._parents: Many[N, tuple[N, ...]] = _unable(source, "get_parent_ids")
        self._tags: Many[N, Tagged[N]] = _unable(source, "get_tags_and_parents")
        self._acls: Many[N, Guarded[N]] = _unable(source, "get_acl_and_parents")
        if isinstance(source, IBatchParentReader):
            self._parents = source.get_parent_ids_many
        elif isinstance(source, IParentReader):
            self._parents = _one_by_one(source.get_parent_ids)
        if isinstance(source, IBatchTagReader):
            self._tags = source.get_tags_and_parents_many
        elif isinstance(source, ITagReader):
            self._tags = _one_by_one(source.get_tags_and_parents)
        if isinstance(source, IBatchACLReader):
            self._acls = source.get_acl_and_parents_many
        elif isinstance(source, IACLReader):
            self._acls = _one_by_one(source.get_acl_and_parents)

    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return self._parents(node_ids)

    def get_tags_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Tagged[N]]:
        return self._tags(node_ids)

    def get_acl_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Guarded[N]]:
        return self._acls(node_ids)


class AsyncBatchReader(Generic[N]):
    """As ``BatchReader``."""

    def __init__(
        self, reader: AsyncParentReader[N] | AsyncTagReader[N] | AsyncACLReader[N]
    ) -> None:
        source: object = reader
        _ensure_kind(source, is_async=True)
        self.ancestry = source if isinstance(source, IAsyncAncestryReader) else None
        self._parents: AsyncMany[N, tuple[N, ...]] = _unable(source, "get_parent_ids")
        self._tags: AsyncMany[N, Tagged[N]] = _unable(source, "get_tags_and_parents")
        self._acls: AsyncMany[N, Guarded[N]] = _unable(source, "get_acl_and_parents")
        if isinstance(source, IAsyncBatchParentReader):
            self._parents = source.get_parent_ids_many
        elif isinstance(source, IAsyncParentReader):
            self._parents = _async_one_by_one(source.get_parent_ids)
        if isinstance(source, IAsyncBatchTagReader):
            self._tags = source.get_tags_and_parents_many
        elif isinstance(source, IAsyncTagReader):
            self._tags = _async_one_by_one(source.get_tags_and_parents)
        if isinstance(source, IAsyncBatchACLReader):
            self._acls = source.get_acl_and_parents_many
        elif isinstance(source, IAsyncACLReader):
            self._acls = _async_one_by_one(source.get_acl_and_parents)

    async def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return await self._parents(node_ids)

    async def get_tags_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Tagged[N]]:
        return await self._tags(node_ids)

    async def get_acl_and_parents_many(self, node_ids: Collection[N]) -> Mapping[N, Guarded[N]]:
        return await self._acls(node_ids)


def as_batch_reader(
    reader: ParentReader[N] | TagReader[N] | ACLReader[N],
) -> BatchReader[N]:
    """Raises ``InvalidOperationError`` for an async reader."""
    return reader if isinstance(reader, BatchReader) else BatchReader(reader)


def as_async_batch_reader(
    reader: AsyncParentReader[N] | AsyncTagReader[N] | AsyncACLReader[N],
) -> AsyncBatchReader[N]:
    """Raises ``InvalidOperationError`` for a sync reader."""
    return reader if isinstance(reader, AsyncBatchReader) else AsyncBatchReader(reader)


def _one_by_one(
    read: Callable[[N], T | None],
) -> Many[N, T]:
    def read_many(node_ids: Collection[N]) -> Mapping[N, T]:
        found = ((node_id, read(node_id)) for node_id in node_ids)
        return {node_id: record for node_id, record in found if record is not None}

    return read_many


def _async_one_by_one(
    read: Callable[[N], Awaitable[T | None]],
) -> AsyncMany[N, T]:
    async def read_many(node_ids: Collection[N]) -> Mapping[N, T]:
        found = [(node_id, await read(node_id)) for node_id in node_ids]
        return {node_id: record for node_id, record in found if record is not None}

    return read_many


def _unable(reader: object, method: str) -> Callable[[Collection[N]], Any]:
    def raise_missing(node_ids: Collection[N]) -> NoReturn:
        raise InvalidOperationError(
            f"{type(reader).__name__} has neither {method} nor {method}_many; "
            "pass a reader that has one of them"
        )

    return raise_missing


def _ensure_kind(reader: object, *, is_async: bool) -> None:
    # A runtime-checkable protocol compares names only: a coroutine would pass for a record.
    for name in _READS:
        method = getattr(reader, name, None)
        if method is not None and inspect.iscoroutinefunction(method) is not is_async:
            kind = "sync" if is_async else "async"
            raise InvalidOperationError(
                f"{type(reader).__name__}.{name} is {kind}; use the {kind} form of the service"
            )
