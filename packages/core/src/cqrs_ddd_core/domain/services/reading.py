"""How the services read: in batches, whatever a reader offers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

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
        _refuse_other_kind(reader, is_async=False)
        self.ancestry = reader if isinstance(reader, IAncestryReader) else None
        self._parents = _unable(reader, "get_parent_ids")
        self._tags = _unable(reader, "get_tags_and_parents")
        self._acls = _unable(reader, "get_acl_and_parents")
        if isinstance(reader, IBatchParentReader):
            self._parents = reader.get_parent_ids_many
        elif isinstance(reader, IParentReader):
            self._parents = _one_by_one(reader.get_parent_ids)
        if isinstance(reader, IBatchTagReader):
            self._tags = reader.get_tags_and_parents_many
        elif isinstance(reader, ITagReader):
            self._tags = _one_by_one(reader.get_tags_and_parents)
        if isinstance(reader, IBatchACLReader):
            self._acls = reader.get_acl_and_parents_many
        elif isinstance(reader, IACLReader):
            self._acls = _one_by_one(reader.get_acl_and_parents)

    def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return self._parents(node_ids)

    def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]:
        return self._tags(node_ids)

    def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]:
        return self._acls(node_ids)


class AsyncBatchReader(Generic[N]):
    """As ``BatchReader``."""

    def __init__(
        self, reader: AsyncParentReader[N] | AsyncTagReader[N] | AsyncACLReader[N]
    ) -> None:
        _refuse_other_kind(reader, is_async=True)
        self.ancestry = reader if isinstance(reader, IAsyncAncestryReader) else None
        self._parents = _unable(reader, "get_parent_ids")
        self._tags = _unable(reader, "get_tags_and_parents")
        self._acls = _unable(reader, "get_acl_and_parents")
        if isinstance(reader, IAsyncBatchParentReader):
            self._parents = reader.get_parent_ids_many
        elif isinstance(reader, IAsyncParentReader):
            self._parents = _async_one_by_one(reader.get_parent_ids)
        if isinstance(reader, IAsyncBatchTagReader):
            self._tags = reader.get_tags_and_parents_many
        elif isinstance(reader, IAsyncTagReader):
            self._tags = _async_one_by_one(reader.get_tags_and_parents)
        if isinstance(reader, IAsyncBatchACLReader):
            self._acls = reader.get_acl_and_parents_many
        elif isinstance(reader, IAsyncACLReader):
            self._acls = _async_one_by_one(reader.get_acl_and_parents)

    async def get_parent_ids_many(self, node_ids: Collection[N]) -> Mapping[N, tuple[N, ...]]:
        return await self._parents(node_ids)

    async def get_tags_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[tuple[str, ...], tuple[N, ...]]]:
        return await self._tags(node_ids)

    async def get_acl_and_parents_many(
        self, node_ids: Collection[N]
    ) -> Mapping[N, tuple[ACL | None, tuple[N, ...]]]:
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
) -> Callable[[Collection[N]], Mapping[N, T]]:
    def read_many(node_ids: Collection[N]) -> Mapping[N, T]:
        found = ((node_id, read(node_id)) for node_id in node_ids)
        return {node_id: record for node_id, record in found if record is not None}

    return read_many


def _async_one_by_one(
    read: Callable[[N], Awaitable[T | None]],
) -> Callable[[Collection[N]], Awaitable[Mapping[N, T]]]:
    async def read_many(node_ids: Collection[N]) -> Mapping[N, T]:
        found = [(node_id, await read(node_id)) for node_id in node_ids]
        return {node_id: record for node_id, record in found if record is not None}

    return read_many


def _unable(reader: object, method: str) -> Callable[[Collection[N]], Any]:
    def refuse(node_ids: Collection[N]) -> NoReturn:
        raise InvalidOperationError(
            f"{type(reader).__name__} has neither {method} nor {method}_many; "
            "pass a reader that has one of them"
        )

    return refuse


def _refuse_other_kind(reader: object, *, is_async: bool) -> None:
    # A runtime-checkable protocol compares names only: a coroutine would pass for a record.
    for name in _READS:
        method = getattr(reader, name, None)
        if method is not None and inspect.iscoroutinefunction(method) is not is_async:
            wanted, other = ("Async", "sync") if is_async else ("sync", "Async")
            ...
