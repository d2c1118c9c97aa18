"""What happens to the second of two changes: it is decided again, or merged by a strategy."""

from .fields import DeepMergeStrategy, FieldLevelMergeStrategy
from .handler import ResilientHandler
from .last_wins import LastWinsStrategy, TimestampLastWinsStrategy
from .lists import UnionListMergeStrategy
from .merging import MergeStrategy
from .middleware import ConflictRetryMiddleware
from .retrying import CONFLICT_RETRY

__all__ = [
    "CONFLICT_RETRY",
    "ConflictRetryMiddleware",
    "DeepMergeStrategy",
    "FieldLevelMergeStrategy",
    "LastWinsStrategy",
    "MergeStrategy",
    "ResilientHandler",
    "TimestampLastWinsStrategy",
    "UnionListMergeStrategy",
]
