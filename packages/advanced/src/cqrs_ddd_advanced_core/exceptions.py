"""Errors of the advanced package; all of them descend from ``CQRSDDDError`` of core."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cqrs_ddd_core.ports import StoredEvent
from cqrs_ddd_core.primitives import exceptions as core


class UpcasterChainError(core.TypeRegistryError, ValueError):
    """Error for a chain of upcasters with a gap, two upcasters for one step, or a wrong end.

    Attributes:
        event_type: stored name of the events.
        step: schema version at which the step in question starts, None if it is not a number.
    """

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
    """Error for a stored event that the registered upcasters cannot bring to the current version.

    Attributes:
        event_type: stored name of the event.
        stored_version: schema version of the stored event.
        class_version: schema version of the event class.
        step: schema version at which the missing or failed step starts.
    """

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
    """Error for saving an aggregate that was loaded as it was in the past.

    Attributes:
        aggregate_type: stored name of the aggregate's class.
        aggregate_id: id of the aggregate.
        version: version at which it was loaded.
    """

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
        """Build the error for an aggregate that was loaded at ``version``."""
        return cls(
            f"{aggregate_type} {aggregate_id} was loaded as it was at version {version}, and a "
            "past state cannot be saved; load it without version= and at=",
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
            version=version,
        )


class SnapshotError(core.InfrastructureError):
    """Error of the snapshot store: it failed, or it rejected its input."""


class MergeConflictError(core.DomainError):
    """Error for two changes that no strategy can merge, so that a person has to choose one.

    Attributes:
        reasons: reason of each conflict by the dotted path of its field; "" stands for the whole
            value.
    """

    def __init__(self, message: str = "", *, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})

    @property
    def fields(self) -> tuple[str, ...]:
        """Paths of the fields in conflict, without "" for the whole value."""
        return tuple(filter(None, self.reasons))

    @classmethod
    def of_value(cls, *, is_removed: bool) -> MergeConflictError:
        """Build the error for a conflict over a whole value.

        Args:
            is_removed: whether one side removed the value, and the other one changed it.
        """
        how = "one side removed it, and the other changed it"
        reason = how if is_removed else "both sides changed it, to different values"
        return cls(f"cannot merge: {reason}; choose one side", reasons={"": reason})

    @classmethod
    def in_fields(cls, reasons: Mapping[str, str]) -> MergeConflictError:
        """Build the error for conflicts in fields, by their dotted paths."""
        paths = "; ".join(f"{path} ({reason})" for path, reason in reasons.items())
        return cls(
            f"cannot merge {paths}; choose one side, or pass a strategy for these fields",
            reasons=reasons,
        )


class ProjectionError(core.CQRSDDDError):
    """Error in the code of a projection, or in its use.

    Attributes:
        projection: name of the projection, which is that of its collection.
    """

    def __init__(self, message: str = "", *, projection: str = "") -> None:
        super().__init__(message)
        self.projection = projection


class UnknownProjectionError(ProjectionError):
    """Error for the name of a projection that has no position, since nothing has run it."""

    @classmethod
    def never_run(cls, missing: Collection[str], known: Collection[str]) -> UnknownProjectionError:
        """Build the error for the missing names, with the known names for comparison."""
        return cls(
            f"no worker has run {', '.join(sorted(missing))}; known projections are "
            f"{', '.join(sorted(known)) or 'none'}; check the name, or start its worker",
            projection=min(missing),
        )


class UnknownDeadLetterError(ProjectionError):
    """Error for a dead letter that does not exist.

    Attributes:
        projection: name of the projection.
        position: position without a dead letter.
    """

    def __init__(self, message: str = "", *, projection: str = "", position: int = 0) -> None:
        super().__init__(message, projection=projection)
        self.position = position

    @classmethod
    def not_found(cls, projection: str, position: int) -> UnknownDeadLetterError:
        """Build the error for a position at which ``projection`` has no dead letter."""
        return cls(
            f"projection {projection} has no dead letter at {position}; list_dead_letters() "
            "returns its dead letters",
            projection=projection,
            position=position,
        )


class ProjectionVersionError(ProjectionError):
    """Error for a version of a projection that is not live, or for a second way of writing it.

    Attributes:
        projection: name of the projection.
        asked: version of the caller.
        live: version of the documents that are read at present.
    """

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
            f"projection {projection} is written inline, so no worker can claim it; remove it "
            "from the workers, or give it another collection there",
            projection=projection,
            asked=asked,
            live=live,
        )

    @classmethod
    def not_registered(
        cls, projection: str, versions: Iterable[int], live: int
    ) -> ProjectionVersionError:
        """Build the error for an inline write by a process that lacks the live version."""
        known = sorted(versions)
        return cls(
            f"version {live} of projection {projection} is live, and this process has only "
            f"{', '.join(map(str, known))}, so the command cannot write its documents; register "
            f"the handler of version {live} here, too, or rebuild a version that is registered",
            projection=projection,
            asked=known[-1],
            live=live,
        )

    @classmethod
    def later_is_live(cls, projection: str, asked: int, live: int) -> ProjectionVersionError:
        """Build the error for a rebuild that would replace the documents of a later version."""
        return cls(
            f"version {live} of {projection} is live, and this rebuild is of version {asked}; "
            "rebuild with the later class, or call run(replace_later=True) to go back to this one",
            projection=projection,
            asked=asked,
            live=live,
        )

    @classmethod
    def run_by_workers(cls, projection: str, asked: int, live: int) -> ProjectionVersionError:
        """Build the error for an inline write of a projection that workers run."""
        return cls(
            f"projection {projection} is run by workers, so it cannot be written inline; "
            "remove it here, or give it another collection",
            projection=projection,
            asked=asked,
            live=live,
        )


class PoisonEventError(ProjectionError):
    """Error for an event that a projection cannot process, so that it stopped before the event.

    Attributes:
        projection: name of the projection.
        event_type: stored name of the event.
        event_id: id of the event.
        position: global position of the event.
    """

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
        """Build the error for an event that raised ``error`` at the last try."""
        is_transient = core.classify_error(error) is core.ErrorClass.TRANSIENT
        advice = "remove the cause of the error and start again"
        if not is_transient:
            advice = "repair the handler, or run it with on_poison=PoisonEventPolicy.QUARANTINE"
        return cls(
            f"projection {projection} stops before {event.event_type} at position "
            f"{event.position}, which failed {tries} times with "
            f"{core.describe_error(error)}; {advice}",
            projection=projection,
            event_type=event.event_type,
            event_id=event.event_id,
            position=event.position or 0,
        )


class ProjectionStoreError(core.InfrastructureError):
    """Error of the projection store: it failed, or it rejected its input."""

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
            f"{collection} was requested with the fields {asked or 'none'}, but it exists with "
            f"{stored or 'none'}; build another collection, and replace this one by it"
        )


class DocumentError(core.SerializationError):
    """Error for a document that is not JSON, or has an invalid id or declared field.

    Attributes:
        collection: name of the collection.
        doc_id: id of the document.
        field: declared field with a value that does not fit, "" if the fault is elsewhere.
    """

    def __init__(
        self, message: str = "", *, collection: str = "", doc_id: str = "", field: str = ""
    ) -> None:
        super().__init__(message, type_name=collection)
        self.collection = collection
        self.doc_id = doc_id
        self.field = field
