"""Which request this is (correlation), and which message caused it (causation)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

correlation_id_var: ContextVar[str | None] = ContextVar("correlation_id", default=None)
causation_id_var: ContextVar[str | None] = ContextVar("causation_id", default=None)

get_correlation_id = correlation_id_var.get
"""The id that all messages of one request share, or None."""

get_causation_id = causation_id_var.get
"""The id of the message that is being handled, or None."""


@contextmanager
def correlation_scope(correlation_id: str | None, causation_id: str | None = None) -> Iterator[None]:
    """Sets both ids for the block; tasks started inside inherit them."""
    correlation = correlation_id_var.set(correlation_id)
    causation = causation_id_var.set(causation_id)
    try:
        yield
    finally:
        causation_id_var.reset(causation)
        correlation_id_var.reset(correlation)
