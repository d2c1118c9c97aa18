"""Parents, tags and access lists of nodes: the readers of the domain services."""

from ..domain.services.readers import (
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
)

__all__ = [
    "IACLReader",
    "IAncestryReader",
    "IAsyncACLReader",
    "IAsyncAncestryReader",
    "IAsyncBatchACLReader",
    "IAsyncBatchParentReader",
    "IAsyncBatchTagReader",
    "IAsyncParentReader",
    "IAsyncTagReader",
    "IBatchACLReader",
    "IBatchParentReader",
    "IBatchTagReader",
    "IParentReader",
    "ITagReader",
]
