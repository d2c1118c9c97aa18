"""What stores of projections say when they refuse; fakes and adapters say it in the same words."""

from __future__ import annotations

from collections.abc import Collection

from cqrs_ddd_core.primitives.exceptions import (
    ConcurrencyError,
    InvalidOperationError,
    LeaseLostError,
)

from ..exceptions import ProjectionVersionError, UnknownDeadLetterError, UnknownProjectionError
from ..ports.positions import Checkpoint


def refuse_unusable_lease(seconds: float) -> None:
    if not seconds > 0:
        raise InvalidOperationError(
            f"cannot lease a projection for {seconds} s; the time must be positive"
        )


def refuse_step_back(checkpoint: Checkpoint, position: int) -> None:
    if position < checkpoint.position:
        raise InvalidOperationError(
            f"projection {checkpoint.projection} cannot go back from {checkpoint.position} to "
            f"{position}; rebuild it instead"
        )


def refuse_unusable_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidOperationError(f"cannot read {limit} dead letters; limit must be at least 1")


def refuse_text(projections: object) -> None:
    """A text is a collection of texts, too, and waiting for its letters would be in vain."""
    if isinstance(projections, str):
        raise InvalidOperationError(
            f"projections are named in a list; give [{projections!r}] to wait for this one"
        )


def lease_lost(checkpoint: Checkpoint) -> LeaseLostError:
    return LeaseLostError(
        f"projection {checkpoint.projection} is no longer ours to take on from "
        f"{checkpoint.position} (epoch {checkpoint.epoch}): it was released, claimed again, "
        "advanced or replaced; claim it again",
        resource=checkpoint.projection,
    )


def refuse_another_version(projection: str, asked: int, live: int) -> None:
    if asked != live:
        raise ProjectionVersionError(
            f"projection {projection} is asked for in version {asked}, but version {live} is live; "
            "rebuild it, or run the code of the live version",
            projection=projection,
            asked=asked,
            live=live,
        )


def written_inline(projection: str, asked: int, live: int) -> ProjectionVersionError:
    return ProjectionVersionError(
        f"projection {projection} is written inline, so no worker can claim it; leave it out of "
        "the workers, or give it another collection there",
        projection=projection,
        asked=asked,
        live=live,
    )


def run_by_workers(projection: str, asked: int, live: int) -> ProjectionVersionError:
    return ProjectionVersionError(
        f"projection {projection} is run by workers, so it cannot be written inline; leave it to "
        "them, or give it another collection here",
        projection=projection,
        asked=asked,
        live=live,
    )


def changed_meanwhile(projection: str) -> ConcurrencyError:
    return ConcurrencyError(
        f"projection {projection} was written or replaced by somebody else meanwhile; decide anew"
    )


def unknown_projections(missing: Collection[str], known: Collection[str]) -> UnknownProjectionError:
    first = min(missing)
    return UnknownProjectionError(
        f"nobody has run {', '.join(sorted(missing))}; there is "
        f"{', '.join(sorted(known)) or 'no projection yet'}: check the name, or start its worker",
        projection=first,
    )


def unknown_dead_letter(projection: str, position: int) -> UnknownDeadLetterError:
    return UnknownDeadLetterError(
        f"projection {projection} has no dead letter at {position}; letters() lists those it has",
        projection=projection,
        position=position,
    )
