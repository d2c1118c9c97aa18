"""Checks of arguments that projection stores share, so that each adapter raises alike."""

from __future__ import annotations

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..exceptions import ProjectionVersionError
from ..ports.positions import Checkpoint


def ensure_usable_lease(seconds: float) -> None:
    """Raise ``InvalidOperationError`` unless the lease lasts longer than 0 seconds."""
    if not seconds > 0:
        raise InvalidOperationError(
            f"cannot lease a projection for {seconds} s; pass more than 0 seconds"
        )


def ensure_forward(checkpoint: Checkpoint, position: int) -> None:
    """Raise ``InvalidOperationError`` if ``position`` is before that of the checkpoint."""
    if position < checkpoint.position:
        raise InvalidOperationError(
            f"projection {checkpoint.projection} cannot go back from {checkpoint.position} to "
            f"{position}; rebuild it instead"
        )


def ensure_page_limit(limit: int) -> None:
    """Raise ``InvalidOperationError`` for a limit below one dead letter."""
    if limit < 1:
        raise InvalidOperationError(f"cannot read {limit} dead letters; limit must be at least 1")


def ensure_name_list(projections: object) -> None:
    """Raise ``InvalidOperationError`` for a single text, which would be read letter by letter."""
    if isinstance(projections, str):
        raise InvalidOperationError(
            f"pass the names of projections in a list, such as [{projections!r}]"
        )


def ensure_live_version(projection: str, asked: int, live: int) -> None:
    """Raise ``ProjectionVersionError`` unless ``asked`` equals ``live``."""
    if asked != live:
        raise ProjectionVersionError(
            f"version {asked} of projection {projection} is requested, but version {live} is live; "
            f"rebuild version {asked}, or run the code of version {live}",
            projection=projection,
            asked=asked,
            live=live,
        )
