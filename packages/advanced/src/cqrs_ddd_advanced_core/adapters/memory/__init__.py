"""Fakes that behave as the database adapters do; one suite of contracts judges both."""

from .snapshots import InMemorySnapshotStore

__all__ = ["InMemorySnapshotStore"]
