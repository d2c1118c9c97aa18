"""Rules that span several aggregates: questions about hierarchies of nodes, over readers."""

from .acl import (
    ACL,
    AccessChange,
    EffectiveACL,
    ExactMatcher,
    Grant,
    IGrantMatcher,
)
from .acl_inheritance import (
    ACLInheritanceService,
    AsyncACLInheritanceService,
)
from .cycles import (
    AsyncCycleDetectionService,
    CycleDetectionService,
)
from .hierarchy import (
    HierarchyWalk,
    TraversalLimits,
    drive,
    drive_async,
)
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
)
from .reading import (
    as_async_batch_reader,
    as_batch_reader,
)
from .tags import (
    AsyncTagInheritanceService,
    TagInheritanceService,
    TagResult,
    TagSource,
)

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
    "HierarchyWalk",
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
    "IGrantMatcher",
    "IParentReader",
    "ITagReader",
    "TagInheritanceService",
    "TagResult",
    "TagSource",
    "TraversalLimits",
    "as_async_batch_reader",
    "as_batch_reader",
    "drive",
    "drive_async",
]
