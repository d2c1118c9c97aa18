"""Strategies that decide when a snapshot is taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from cqrs_ddd_core.primitives.exceptions import ConfigError


@dataclass(frozen=True)
class Loading:
    """Facts of one load: the version, that of the snapshot (0 for none), and the time it took."""

    version: int
    snapshot_version: int = 0
    seconds: float = 0.0


class SnapshotStrategy(ABC):
    """Strategy that decides after a load; ``one | another`` is due when either is."""

    @abstractmethod
    def is_due(self, loading: Loading) -> bool: ...

    def __or__(self, other: SnapshotStrategy) -> SnapshotStrategy:
        return _Either(self, other)


@dataclass(frozen=True)
class EveryNEventsStrategy(SnapshotStrategy):
    """Strategy that is due when ``n`` events or more had to be applied."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n must be at least 1, got {self.n}")

    def is_due(self, loading: Loading) -> bool:
        return loading.version - loading.snapshot_version >= self.n


@dataclass(frozen=True)
class LoadingTimeStrategy(SnapshotStrategy):
    """Strategy that is due when a load that applied events took ``seconds`` or more."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ConfigError(f"seconds must not be negative, got {self.seconds}")

    def is_due(self, loading: Loading) -> bool:
        applied = loading.version - loading.snapshot_version
        return applied > 0 and loading.seconds >= self.seconds


@dataclass(frozen=True)
class _Either(SnapshotStrategy):
    one: SnapshotStrategy
    other: SnapshotStrategy

    def is_due(self, loading: Loading) -> bool:
        return self.one.is_due(loading) or self.other.is_due(loading)
