"""What happens to the second of two changes: it is decided again, or merged by a strategy."""

from .aggregate_updater import AggregateUpdater
from .fields import DeepMergeStrategy, FieldLevelMergeStrategy
from .last_wins import LastWinsStrategy, TimestampLastWinsStrategy
from .lists import UnionListMergeStrategy
from .merging import MergeStrategy
from .middleware import ConflictRetryMiddleware
from .retry import CONFLICT_RETRY

__all__ = [
    "CONFLICT_RETRY",
    "AggregateUpdater",
    "ConflictRetryMiddleware",
    "DeepMergeStrategy",
    "FieldLevelMergeStrategy",
    "LastWinsStrategy",
    "MergeStrategy",
    "TimestampLastWinsStrategy",
    "UnionListMergeStrategy",
]
