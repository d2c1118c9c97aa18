"""Aggregate root: state that changes as one unit, and the events that record each change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

import pydantic

from ..primitives import exceptions as errors
from ..primitives import json_fields, named_arguments
from .event_handlers import EventHandlers
from .events import DomainEvent, EventTypeRegistry, StoredForm, default_event_registry

if TYPE_CHECKING:
    import typing_extensions

    ID = typing_extensions.TypeVar("ID", bound="str | int | UUID", default=Any)
    """Type variable for the id of an aggregate."""
else:
    # Not as a text, which pydantic would look up in the module of a subclass without brackets.
    ID = TypeVar("ID", bound=str | int | UUID)
A = TypeVar("A", bound="AggregateRoot")


@dataclass(slots=True)
class _Journal:
    """Version of an aggregate, and its recorded events that are not collected yet."""

    version: int = 0
    is_persisted: bool = False
    uncommitted_count: int = 0
    pending: list[DomainEvent] = field(default_factory=list)
    replaying: bool = False
    is_past: bool = False


class _NewAggregates(Protocol):
    """Aggregates of a unit of work that have recorded their first event in it."""

    def track_new(self, aggregate: AggregateRoot, /) -> None: ...


tracked_at_work: ContextVar[_NewAggregates | None] = ContextVar("tracked_at_work", default=None)
"""Aggregates of the unit of work in which a mediator runs a command."""


class AggregateRoot(named_arguments.NamedArguments, pydantic.BaseModel, Generic[ID]):
    """Entity that other objects reach by its ``id`` only.

    Methods decide and call ``add_event``; methods named ``apply_<Event>``, or marked with
    ``@when(Event)``, change the state. These methods are looked up once, when the class is defined;
    a wrong or ambiguous method raises ``EventHandlerError``.

    Attributes:
        id: identity; ``MissingIdentityError`` is raised if it is missing, None or empty.

    Example:
        ```python
        from cqrs_ddd_core import AggregateRoot, DomainEvent

        class Switched(DomainEvent):
            on: bool

        class Lamp(AggregateRoot[str]):
            on: bool = False

            def switch(self) -> None:
                self.add_event(Switched(on=not self.on))

            def apply_Switched(self, event: Switched) -> None:
                self.on = event.on

        lamp = Lamp(id="desk")
        lamp.switch()
        assert lamp.on
        ```
    """

    model_config = pydantic.ConfigDict(allow_inf_nan=False, hide_input_in_errors=True)

    aggregate_type: ClassVar[str] = "AggregateRoot"
    """The stored name: the class name, unless the class sets its own."""
    event_registry: ClassVar[EventTypeRegistry] = default_event_registry
    """Registry that decodes stored events."""
    event_handlers: ClassVar[EventHandlers]
    """Functions that apply events, by event class."""

    id: ID

    # A slot instead of a pydantic field, so that access is as fast as on a plain object.
    __slots__ = ("_journal",)
    if TYPE_CHECKING:
        _journal: _Journal = pydantic.PrivateAttr()

    def __new__(cls, *args: Any, **kwargs: Any) -> AggregateRoot[ID]:
        """Create the instance together with its empty journal."""
        self = object.__new__(cls)
        object.__setattr__(self, "_journal", _Journal())
        return self

    if not TYPE_CHECKING:

        def __init__(self, /, **data: Any) -> None:
            # As in NamedArguments, without the cost of a second call.
            self.__pydantic_validator__.validate_python(data, self_instance=self)
            if len(self.__pydantic_fields_set__) < len(data) or self.__pydantic_post_init__:
                named_arguments.ensure_known_arguments(type(self), data)
            if self._journal.pending:
                raise self._build_construction_error()

        __init__.__pydantic_base_init__ = True

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "aggregate_type" not in cls.__dict__:
            cls.aggregate_type = cls.__name__
        for name in ("__init__", "model_post_init"):
            if name in cls.__dict__:
                type.__setattr__(cls, name, _record_nothing(cls.__dict__[name]))
        cls.event_handlers = EventHandlers(cls, _apply_stored)
        if cls.model_config.get("validate_assignment"):
            type.__setattr__(cls, "__setattr__", _set_without_validation_in_replay)

    @pydantic.model_validator(mode="before")
    @classmethod
    @json_fields.only_checks
    def _has_identity(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("id") in (None, ""):
            cls._ensure_id(given="id" in data)
        return data

    @classmethod
    def _ensure_id(cls, *, given: bool) -> None:
        if given or cls.model_fields["id"].is_required():
            raise errors.MissingIdentityError(
                f"{cls.__name__} has no id; pass id=..., or give the field a default_factory",
                type_name=cls.__name__,
                missing=("id",),
            )

    @property
    def version(self) -> int:
        """Number of persisted changes; 0 for a new aggregate."""
        return self._journal.version

    @property
    def is_persisted(self) -> bool:
        """Return whether the aggregate was loaded or saved; a stored version can be 0."""
        return self._journal.is_persisted or self._journal.version > 0

    @property
    def uncommitted_event_count(self) -> int:
        """Number of events that were recorded since the last persisted version."""
        return self._journal.uncommitted_count

    @property
    def next_version(self) -> int:
        """Version after the next save; a save without events counts as one change."""
        return self._journal.version + max(1, self._journal.uncommitted_count)

    @property
    def is_historical(self) -> bool:
        """Return whether this is a past state, or a copy of one; a past state cannot be saved."""
        return self._journal.is_past

    @property
    def pending_events(self) -> tuple[DomainEvent, ...]:
        """Recorded events that are not collected yet."""
        return tuple(self._journal.pending)

    def add_event(self, event: DomainEvent) -> None:
        """Apply the event and record it as the aggregate's next version.

        From then on the event shares no list or other value that can be changed in place with the
        state of the aggregate, or with the arguments that it was created from.

        If the handler raises, nothing is recorded and the fields keep their values; only a list or
        dict that the handler changed in place stays changed.

        Raises:
            EventApplicationError: the event cannot be recorded by this aggregate, or its handler
                failed.
            SerializationError: JSON would change a value of the event, or cannot represent it.
        """
        self._ensure_recordable(event)
        event.json_form().ensure_kept(event)
        before = self.__dict__.copy()
        try:
            # The handler may keep a list of the event and change it later.
            content = event.copy_content()
            self.event_handlers[event.__class__](self, event)
        except errors.CQRSDDDError:
            self._restore(before)
            raise
        except Exception as error:
            self._restore(before)
            raise self._build_application_error(event, error) from error
        journal = self._journal
        journal.uncommitted_count += 1
        # The envelope is completed in place: the caller's event is the recorded one.
        event.__dict__.update(
            content,
            aggregate_id=str(self.id),
            aggregate_type=self.aggregate_type,
            aggregate_version=journal.version + journal.uncommitted_count,
        )
        journal.pending.append(event)
        if journal.uncommitted_count == 1 and not self.is_persisted:
            tracked = tracked_at_work.get()
            if tracked is not None:
                tracked.track_new(self)

    def collect_events(self) -> list[DomainEvent]:
        """Return the pending events and clear the list, so that each event is collected once."""
        events, self._journal.pending = self._journal.pending, []
        return events

    def apply_event(self, event: DomainEvent | StoredForm) -> None:
        """Apply one past event, typed or as stored; the event counts as a persisted change.

        Raises:
            EventApplicationError: the handler of the event failed.
        """
        try:
            self.event_handlers[event.__class__](self, event)
        except errors.EventApplicationError:
            raise
        except Exception as error:
            raise self._build_application_error(event, error) from error
        self._journal.version += 1

    def replay(self, events: Iterable[DomainEvent | StoredForm]) -> None:
        """Apply past events in order, then validate the state once.

        Raises:
            EventApplicationError: a handler failed, or the state is not valid after the last event.
        """
        handlers = self.event_handlers
        event: DomainEvent | StoredForm | None = None
        count = 0
        self._journal.replaying = True
        try:
            for event in events:
                handlers[event.__class__](self, event)
                count += 1
        except errors.EventApplicationError:
            raise
        except Exception as error:
            raise self._build_application_error(event, error) from error
        finally:
            self._journal.replaying = False
        if event is not None:
            self._journal.version += count
            self._validate_after(event)

    @classmethod
    def rehydrate(cls: type[A], entity_id: Any, events: Iterable[DomainEvent | StoredForm]) -> A:
        """Create an aggregate with an id and apply its past events.

        Raises:
            EventApplicationError: a handler failed, or the state is not valid after the last event.
        """
        aggregate = cls.create_empty(entity_id)
        aggregate.replay(events)
        return aggregate

    @classmethod
    def create_empty(cls: type[A], entity_id: Any) -> A:
        """Create an instance with an id and the defaults; events set the required fields."""
        return cls.model_construct(id=entity_id)

    def mark_persisted(self, version: int) -> None:
        """Note that the state is stored as ``version``; pending events stay pending."""
        self._journal.version = version
        self._journal.is_persisted = True
        self._journal.uncommitted_count = 0

    def mark_historical(self) -> None:
        """Mark this object as a past state, which cannot be saved."""
        self._journal.is_past = True

    def __copy__(self: A) -> A:
        return self._copy_journal_to(super().__copy__())

    def __deepcopy__(self: A, memo: dict[int, Any] | None = None) -> A:
        return self._copy_journal_to(super().__deepcopy__(memo))

    def _copy_journal_to(self: A, copy: A) -> A:
        journal = replace(self._journal, pending=list(self._journal.pending))
        object.__setattr__(copy, "_journal", journal)
        return copy

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "journal": self._journal}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        object.__setattr__(self, "_journal", state["journal"])

    def _restore(self, fields: dict[str, Any]) -> None:
        self.__dict__.clear()
        self.__dict__.update(fields)

    def _build_construction_error(self) -> errors.EventApplicationError:
        name, recorded = type(self).__name__, type(self._journal.pending[0]).__name__
        return errors.EventApplicationError(
            f"{name} recorded {recorded} while it was constructed, and each load constructs it "
            f"again; record the event in a class method that creates the {name}",
            aggregate_type=self.aggregate_type,
            event_type=recorded,
        )

    def _ensure_recordable(self, event: object) -> None:
        if not isinstance(event, DomainEvent):
            problem = "it is not a DomainEvent; subclass DomainEvent for it"
        elif event.aggregate_version is not None:
            problem = "the event is already recorded; create a new one"
        elif event.aggregate_id is not None and event.aggregate_id != str(self.id):
            problem = f"the event belongs to {event.aggregate_id!r}; leave aggregate_id out"
        else:
            return
        raise errors.EventApplicationError(
            f"{self.aggregate_type} {self.id} cannot record {type(event).__name__}: {problem}",
            aggregate_type=self.aggregate_type,
            event_type=type(event).__name__,
        )

    def _build_application_error(
        self, event: Any, error: Exception
    ) -> errors.EventApplicationError:
        unset = self._find_unset_field(error)
        reason = (
            f"{unset} was read before an event set it" if unset else errors.describe_error(error)
        )
        event_type = getattr(event, "event_type", type(event).__name__)
        return errors.EventApplicationError(
            f"{self.aggregate_type} {self.id} cannot apply {event_type}: {reason}",
            aggregate_type=self.aggregate_type,
            event_type=event_type,
            field=unset,
        )

    def _find_unset_field(self, error: Exception) -> str | None:
        if not isinstance(error, AttributeError):
            return None
        unset = (name for name in type(self).model_fields if name not in self.__dict__)
        return next((name for name in unset if repr(name) in str(error)), None)

    def _validate_after(self, event: DomainEvent | StoredForm) -> None:
        try:
            # By name, since an alias would make the validation miss the field and take its default.
            checked = self.__pydantic_validator__.validate_python(
                dict(self.__dict__), by_alias=False, by_name=True
            )
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            path = ".".join(map(str, first["loc"]))
            unset = " (no event sets it)" if first["type"] == "missing" else ""
            raise errors.EventApplicationError(
                f"{self.aggregate_type} {self.id} is not valid after {event.event_type}: "
                f"{path or 'state'}: {first['type']}{unset}",
                aggregate_type=self.aggregate_type,
                event_type=event.event_type,
                field=path or None,
            ) from errors.ConcealedError(error)
        self.__dict__.update(checked.__dict__)
        object.__setattr__(self, "__pydantic_private__", checked.__pydantic_private__)


def _record_nothing(construct: Callable[..., None]) -> Callable[..., None]:
    """Return the method, a part of the construction, with a check that it records no event."""

    @wraps(construct)
    def checked(self: AggregateRoot, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if self._journal.pending:
            raise self._build_construction_error()

    return checked


def _apply_stored(aggregate: AggregateRoot, stored: StoredForm) -> None:
    event = aggregate.event_registry.decode(stored)
    aggregate.event_handlers[event.__class__](aggregate, event)


def _set_without_validation_in_replay(aggregate: AggregateRoot, name: str, value: object) -> None:
    if (
        not name.startswith("_")
        and aggregate._journal.replaying
        and name in type(aggregate).model_fields
    ):
        aggregate.__dict__[name] = value
    else:
        pydantic.BaseModel.__setattr__(aggregate, name, value)
