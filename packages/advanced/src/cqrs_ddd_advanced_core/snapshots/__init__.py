"""Snapshots of aggregates: when they are taken, and whether they can be used."""

from .aggregate_snapshots import AggregateSnapshots
from .strategies import EveryNEventsStrategy, Loading, LoadingTimeStrategy, SnapshotStrategy

__all__ = [
    "AggregateSnapshots",
    "EveryNEventsStrategy",
    "Loading",
    "LoadingTimeStrategy",
    "SnapshotStrategy",
]
