"""Snapshots: taken by a strategy, and of no use rather than wrong."""

from .aggregate_snapshots import AggregateSnapshots
from .strategies import EveryNEventsStrategy, Loading, LoadingTimeStrategy, SnapshotStrategy

__all__ = [
    "AggregateSnapshots",
    "EveryNEventsStrategy",
    "Loading",
    "LoadingTimeStrategy",
    "SnapshotStrategy",
]
