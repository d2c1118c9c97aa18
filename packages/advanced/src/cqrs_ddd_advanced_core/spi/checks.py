"""Checks of arguments that stores of projections share, so that each adapter raises alike."""

from __future__ import annotations

from cqrs_ddd_core.primitives.exceptions import InvalidOperationError

from ..exceptions import ProjectionVersionError
from ..ports.positions import Checkpoint


def ensure_usable_lease(seconds: float) -> None:
    """Raise ``InvalidOperationError`` unless the lease lasts for some time."""
    if not seconds > 0:
        raise InvalidOperationError(
            f"cannot lease a projection for {seconds} s; the time must be positive"
        )


def ensure_forward(checkpoint: Checkpoint, position: int) -> None:
    """Raise ``InvalidOperationError`` for a position before that of the checkpoint."""
    if position < checkpoint.position:
        raise InvalidOperationError(
            f"projection {checkpoint.projection} cannot go back from {checkpoint.position} to "
            f"{position}; rebuild it instead"
        )


def ensure_page_limit(limit: int) -> None:
    """Raise ``InvalidOperationError`` for a page of dead letters with room for none."""
    if limit < 1:
        raise InvalidOperationError(f"cannot read {limit} dead letters; limit must be at least 1")


def ensure_name_list(projections: object) -> None:
    """Raise ``InvalidOperationError`` for a text, which is a collection of its letters."""
    if isinstance(projections, str):
        raise InvalidOperationError(
            f"pass the names of projections in a list, such as [{projections!r}]"
        )


def ensure_live_version(projection: str, asked: int, live: int) -> None:
    """Raise ``ProjectionVersionError`` unless the live version is the one asked for."""
    if asked != live:
        raise ProjectionVersionError(
            f"version {asked} of projection {projection} is asked for, but version {live} is live; "
            "rebuild it, or run the code of the live version",
            projection=projection,
            asked=asked,
            live=live,
        )
