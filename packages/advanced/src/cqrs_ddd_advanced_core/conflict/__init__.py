"""Conflicts between two changes: the command is retried, or a strategy merges both changes."""

from .aggregate_updater import AggregateUpdater
from .merge_strategies import (
    DeepMergeStrategy,
    FieldLevelMergeStrategy,
    LastWinsStrategy,
    MergeStrategy,
    TimestampLastWinsStrategy,
    UnionListMergeStrategy,
)
from .retry import CONFLICT_RETRY, ConflictRetryMiddleware

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
