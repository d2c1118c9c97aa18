"""Rules that span several aggregates: cycles, tags and access in hierarchies, over readers."""

from typing import TYPE_CHECKING

from ...primitives.lazy_exports import export_lazily

if TYPE_CHECKING:
    from .acl import *
    from .acl_inheritance import *
    from .cycles import *
    from .hierarchy import *
    from .readers import *
    from .tags import *
else:
    __getattr__, __dir__ = export_lazily(
        __name__, "readers", "hierarchy", "acl", "acl_inheritance", "cycles", "tags"
    )
