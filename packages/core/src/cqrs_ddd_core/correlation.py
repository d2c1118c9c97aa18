"""Correlation id of the running request, and causation id of the message being handled."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["correlation_id_var", "correlation_scope", "get_causation_id", "get_correlation_id"]

correlation_id_var: ContextVar[str | None] = ContextVar("correlation_id", default=None)
"""Correlation id of the running request; ``correlation_scope`` sets both ids and restores them."""
causation_id_var: ContextVar[str | None] = ContextVar("causation_id", default=None)


def get_correlation_id() -> str | None:
    """Return the id that all messages of the running request share, or None."""
    return correlation_id_var.get()


def get_causation_id() -> str | None:
    """Return the id of the message that is being handled, or None."""
    return causation_id_var.get()


@contextmanager
def correlation_scope(
    correlation_id: str | None, causation_id: str | None = None
) -> Iterator[None]:
    """Set both ids for the block; tasks started inside inherit them.

    The end of the block may run in another context, as in a generator that a web framework resumes.
    """
    outer = correlation_id_var.get(), causation_id_var.get()
    correlation_id_var.set(correlation_id)
    causation_id_var.set(causation_id)
    try:
        yield
    finally:
        # A token of another context could not be reset.
        correlation_id_var.set(outer[0])
        causation_id_var.set(outer[1])
