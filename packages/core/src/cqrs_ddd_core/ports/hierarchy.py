"""Parents, tags and access lists of nodes: the readers of the domain services."""

from ..domain.services.readers import (
    IACLReader,
    IAsyncACLReader,
    IAsyncParentReader,
    IAsyncTagReader,
    IParentReader,
    ITagReader,
)

__all__ = [
    "IACLReader",
    "IAsyncACLReader",
    "IAsyncParentReader",
    "IAsyncTagReader",
    "IParentReader",
    "ITagReader",
]
