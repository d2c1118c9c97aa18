"""Rules that span several aggregates: cycles, tags and access in hierarchies, over readers."""

from .acl import ACL, ExactMatcher, Grant, IGrantMatcher
from .acl_inheritance import (
    AccessChange,
    ACLInheritanceService,
    AsyncACLInheritanceService,
    EffectiveACL,
)
from .cycles import AsyncCycleDetectionService, CycleDetectionService
from .hierarchy import TraversalLimits
from .readers import (
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
from .tags import AsyncTagInheritanceService, TagInheritanceService, TagResult, TagSource

__all__ = [
    "ACL",
    "ACLInheritanceService",
    "AccessChange",
    "AsyncACLInheritanceService",
    "AsyncCycleDetectionService",
    "AsyncTagInheritanceService",
    "CycleDetectionService",
    "EffectiveACL",
    "ExactMatcher",
    "Grant",
    "IACLReader",
    "IAncestryReader",
    "IAsyncACLReader",
    "IAsyncAncestryReader",
    "IAsyncBatchReader",
    "IAsyncParentReader",
    "IAsyncTagReader",
    "IBatchReader",
    "IGrantMatcher",
    "IParentReader",
    "ITagReader",
    "TagInheritanceService",
    "TagResult",
    "TagSource",
    "TraversalLimits",
]
