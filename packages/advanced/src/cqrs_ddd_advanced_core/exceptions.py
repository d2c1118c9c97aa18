"""Errors of the advanced package; all descend from ``CQRSDDDError`` of core."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cqrs_ddd_core.ports import StoredEvent
from cqrs_ddd_core.primitives import exceptions as core


class UpcasterChainError(core.TypeRegistryError, ValueError):
    """Upcasters leave a gap, share a step, or do not end at the version of their class."""

    def __init__(self, message: str = "", *, event_type: str = "", step: int | None = None) -> None:
        super().__init__(message, name=event_type)
        self.event_type = event_type
        self.step = step

    @classmethod
    def at_step(cls, event_type: str, step: object, problem: str) -> UpcasterChainError:
        """Build the error for the step that starts at schema version ``step``."""
        return cls(
            f"the step of {event_type} from schema version {step} {problem}",
            event_type=event_type,
            step=step if isinstance(step, int) else None,
        )


class UpcastingError(core.SerializationError):
    """A stored event cannot be upcast; ``step`` is the version from which the step failed."""

    def __init__(
        self,
        message: str = "",
        *,
        event_type: str = "",
        stored_version: int | None = None,
        class_version: int | None = None,
        step: int | None = None,
    ) -> None:
        super().__init__(message, type_name=event_type)
        self.event_type = event_type
        self.stored_version = stored_version
        self.class_version = class_version
        self.step = step


class PastStateError(core.InvalidOperationError):
    """A past state cannot be saved; ``version`` is the version at which it was loaded."""

    def __init__(
        self,
        message: str = "",
        *,
        aggregate_type: str = "",
        aggregate_id: object = None,
        version: int = 0,
    ) -> None:
        super().__init__(message)
        self.aggregate_type = aggregate_type
        self.aggregate_id = aggregate_id
        self.version = version

    @classmethod
    def of_aggregate(
        cls, aggregate_type: str, aggregate_id: object, version: int
    ) -> PastStateError:
        return cls(
            f"{aggregate_type} {aggregate_id} was loaded as it was at version {version}, and the "
            "past cannot be saved; load it without version= and at=",
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
            version=version,
        )


class SnapshotError(core.InfrastructureError):
    """The snapshot store failed, or rejected its input."""


class MergeConflictError(core.DomainError):
    """Two changes that cannot be merged, so that a person has to choose one.

    ``reasons`` holds the reasons by the dotted path of the field; "" stands for the whole value.
    """

    def __init__(self, message: str = "", *, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the paths, without that of a whole value."""
        return tuple(filter(None, self.reasons))

    @classmethod
    def of_value(cls, *, is_removed: bool) -> MergeConflictError:
        """Return the conflict over a whole value, which one side may have removed."""
        how = "one side removed it, and the other changed it"
        reason = how if is_removed else "both sides changed it, and not to the same"
        return cls(f"cannot merge: {reason}; choose one side", reasons={"": reason})

    @classmethod
    def in_fields(cls, reasons: Mapping[str, str]) -> MergeConflictError:
        paths = "; ".join(f"{path} ({reason})" for path, reason in reasons.items())
        return cls(
            f"cannot merge {paths}; choose one side, or give these fields a strategy",
            reasons=reasons,
        )


class ProjectionError(core.CQRSDDDError):
    """A projection is not written or not used as it has to be."""

    def __init__(self, message: str = "", *, projection: str = "") -> None:
        super().__init__(message)
        self.projection = projection


class UnknownProjectionError(ProjectionError):
    """No projection of this name has been run."""

    @classmethod
    def never_run(cls, missing: Collection[str], known: Collection[str]) -> UnknownProjectionError:
        """Build the error for names of which only ``known`` have a position."""
        return cls(
            f"no worker has run {', '.join(sorted(missing))}; there is "
            f"{', '.join(sorted(known)) or 'no projection yet'}; check the name, or start its "
            "worker",
            projection=min(missing),
        )


class UnknownDeadLetterError(ProjectionError):
    """The projection has no dead letter at ``position``."""

    def __init__(self, message: str = "", *, projection: str = "", position: int = 0) -> None:
        super().__init__(message, projection=projection)
        self.position = position

    @classmethod
    def not_found(cls, projection: str, position: int) -> UnknownDeadLetterError:
        """Build the error for a position at which ``projection`` has no dead letter."""
        return cls(
            f"projection {projection} has no dead letter at {position}; list_dead_letters() "
            "returns those it has",
            projection=projection,
            position=position,
        )


class ProjectionVersionError(ProjectionError):
    """Another version of the projection is live, or it is written in another way."""

    def __init__(
        self, message: str = "", *, projection: str = "", asked: int = 0, live: int = 0
    ) -> None:
        super().__init__(message, projection=projection)
        self.asked = asked
        self.live = live

    @classmethod
    def written_inline(cls, projection: str, asked: int, live: int) -> ProjectionVersionError:
        """Build the error for a worker that claims an inline projection."""
        return cls(
            f"projection {projection} is written inline, so no worker can claim it; leave it out "
            "of the workers, or give it another collection there",
            projection=projection,
            asked=asked,
            live=live,
        )

    @classmethod
    def run_by_workers(cls, projection: str, asked: int, live: int) -> ProjectionVersionError:
        """Build the error for an inline write of a projection that workers run."""
        return cls(
            f"projection {projection} is run by workers, so it cannot be written inline; leave it "
            "to them, or give it another collection here",
            projection=projection,
            asked=asked,
            live=live,
        )


class PoisonEventError(ProjectionError):
    """A projection stopped before an event that it cannot process."""

    def __init__(
        self,
        message: str = "",
        *,
        projection: str = "",
        event_type: str = "",
        event_id: str = "",
        position: int = 0,
    ) -> None:
        super().__init__(message, projection=projection)
        self.event_type = event_type
        self.event_id = event_id
        self.position = position

    @classmethod
    def stopped_before(
        cls, event: StoredEvent, projection: str, tries: int, error: Exception
    ) -> PoisonEventError:
        """Build the error for an event that failed with ``error`` at its last try."""
        is_transient = core.classify_error(error) is core.ErrorClass.TRANSIENT
        advice = "look into the error"
        if not is_transient:
            advice = "repair the handler, or run it with on_poison=PoisonEventPolicy.QUARANTINE"
        return cls(
            f"the projection {projection} stops before {event.event_type} at position "
            f"{event.position}, which failed {tries} times with {error!r}; {advice}",
            projection=projection,
            event_type=event.event_type,
            event_id=event.event_id,
            position=event.position or 0,
        )


class ProjectionStoreError(core.InfrastructureError):
    """The store of documents failed, or rejected its input."""

    @classmethod
    def no_collection(cls, collection: str) -> ProjectionStoreError:
        """Build the error for a collection that was never created."""
        return cls(
            f"there is no collection {collection}; call ensure_collection({collection!r}, ...) "
            "first"
        )

    @classmethod
    def other_fields(
        cls, collection: str, asked: Mapping[str, object], stored: Mapping[str, object]
    ) -> ProjectionStoreError:
        """Build the error for a collection that exists with other fields."""
        return cls(
            f"{collection} was asked for with the fields {asked or 'none'}, but it exists with "
            f"{stored or 'none'}; build another collection, and replace this one by it"
        )


class DocumentError(core.SerializationError):
    """A document is not JSON, has an impossible id, or a value that its ``field`` does not take."""

    def __init__(
        self, message: str = "", *, collection: str = "", doc_id: str = "", field: str = ""
    ) -> None:
        super().__init__(message, type_name=collection)
        self.collection = collection
        self.doc_id = doc_id
        self.field = field
