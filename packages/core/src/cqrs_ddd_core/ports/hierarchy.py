"""Readers of hierarchies, which the domain services need."""

from ..domain.services.readers import (
    IACLReader,
    IAncestryReader,
    IAsyncACLReader,
    IAsyncAncestryReader,
    IAsyncBatchReader,
    IAsyncParentReader,
    IAsyncTagReader,
    IBatchReader,
    IParentReader,
    ITagReader,
)

__all__ = [
    "IACLReader",
    "IAncestryReader",
    "IAsyncACLReader",
    "IAsyncAncestryReader",
    "IAsyncBatchReader",
    "IAsyncParentReader",
    "IAsyncTagReader",
    "IBatchReader",
    "IParentReader",
    "ITagReader",
]
