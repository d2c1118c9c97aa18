"""Answers to commands and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..domain.events import DomainEvent

T = TypeVar("T")


@dataclass(slots=True)
class CommandResponse(Generic[T]):
    """What a command led to.

    A handler may return one to raise ``events`` beside those of its aggregates. The one that the
    mediator returns holds every event of the unit of work, and in ``position`` the last global
    position that the event store gave out; None where nothing was stored.
    """

    result: T
    events: Sequence[DomainEvent] = ()
    position: int | None = None


@dataclass(slots=True)
class QueryResponse(Generic[T]):
    """What a query found."""

    result: T
