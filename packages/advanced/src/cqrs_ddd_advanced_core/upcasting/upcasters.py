"""Upcasters, which convert payloads from one schema version to the next, and their registry."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from cqrs_ddd_core import DomainEvent, IEventUpcaster
from cqrs_ddd_core.primitives.exceptions import ConcealedError, describe_error

from ..exceptions import UpcasterChainError, UpcastingError

Payload = Mapping[str, Any]


class EventUpcaster(IEventUpcaster):
    """Upcaster of one event type from ``source_version`` to the next schema version.

    Example:
        ```python
        from cqrs_ddd_advanced_core import EventUpcaster

        class CentsFromEuros(EventUpcaster):  # Version 1 had whole euros.
            event_type = "Deposited"
            source_version = 1

            def upcast(self, payload: dict) -> dict:
                return {"cents": payload["euros"] * 100}
        ```
    """

    event_type: ClassVar[str]
    source_version: ClassVar[int]

    @abstractmethod
    def upcast(self, payload: Payload) -> dict[str, Any]:
        """Return the payload of the next version; the argument is a copy, which may be changed."""
        ...


class UpcasterRegistry:
    """Table of upcasters: a chain for each event type, in which a step leads to the next version.

    A chain cannot lead to an earlier version, and the steps that are registered in one call must
    leave no gap.

    Args:
        upcasters: steps to register.
    """

    def __init__(self, *upcasters: IEventUpcaster) -> None:
        self._chains: dict[str, dict[int, IEventUpcaster]] = {}
        self.register(*upcasters)

    def register(self, *upcasters: IEventUpcaster) -> None:
        """Add all steps or none; raise ``UpcasterChainError`` for a duplicate step or a gap."""
        chains = {event_type: dict(steps) for event_type, steps in self._chains.items()}
        for upcaster in upcasters:
            _ensure_usable(upcaster)
            event_type, version = upcaster.event_type, upcaster.source_version
            steps = chains.setdefault(event_type, {})
            if present := steps.get(version):
                advice = f"give {_name_of(upcaster)} another source_version"
                if present is upcaster:
                    advice = "register it once"
                problem = f"is already {_name_of(present)}; {advice}"
                raise UpcasterChainError.at_step(event_type, version, problem)
            steps[version] = upcaster
        for event_type, steps in chains.items():
            missing = set(range(min(steps), max(steps))) - set(steps)
            if missing:
                problem = "is missing; register all steps in one call"
                raise UpcasterChainError.at_step(event_type, min(missing), problem)
        self._chains = chains

    def __iter__(self) -> Iterator[str]:
        """Iterate over the event types that have a chain."""
        return iter(self._chains)

    def ensure_fits(self, event_class: type[DomainEvent]) -> None:
        """Raise ``UpcasterChainError`` unless the chain ends at the schema version of the class."""
        steps = self._chains.get(event_class.event_type)
        if not steps:
            return
        end, version, name = max(steps) + 1, event_class.schema_version, event_class.__qualname__
        if end < version:
            problem = f"is missing: {name} has schema_version {version}; register the step"
            raise UpcasterChainError.at_step(event_class.event_type, end, problem)
        if end > version:
            problem = (
                f"leads beyond {name}, which has schema_version {version}; set schema_version = "
                f"{end} there, or leave the step out"
            )
            raise UpcasterChainError.at_step(event_class.event_type, end - 1, problem)

    def upcast(self, event_type: str, payload: Payload, *, stored: int, wanted: int) -> Payload:
        """Return the payload of version ``stored`` as version ``wanted``.

        Args:
            event_type: stored name of the event.
            payload: the stored payload; pass a copy, since a step may change it.
            stored: schema version of the stored event.
            wanted: schema version of the event class.

        Raises:
            UpcastingError: a step is missing or fails, or ``stored`` is newer than ``wanted``.
        """
        if stored > wanted:
            raise UpcastingError(
                f"stored {event_type} has schema version {stored}, but its class has {wanted}: "
                "a newer program wrote the event; deploy that program here, too",
                event_type=event_type,
                stored_version=stored,
                class_version=wanted,
            )
        steps = self._chains.get(event_type, {})
        for version in range(stored, wanted):
            upcaster = steps.get(version)
            if upcaster is None:
                raise UpcastingError(
                    f"stored {event_type} has schema version {stored}, its class has {wanted}, and "
                    f"the step from {version} to {version + 1} is missing; register an "
                    f"EventUpcaster with source_version = {version}",
                    event_type=event_type,
                    stored_version=stored,
                    class_version=wanted,
                    step=version,
                )
            payload = _run(upcaster, payload, stored, wanted)
        return payload


def _run(upcaster: IEventUpcaster, payload: Payload, stored: int, wanted: int) -> Payload:
    cause: Exception | None = None
    try:
        result: object = upcaster.upcast(payload)
        if isinstance(result, Mapping):
            return result
        problem = f"returned an object of {type(result).__name__}, not a dict"
    except Exception as error:
        problem, cause = f"raised {describe_error(error)}", error
    raise UpcastingError(
        f"{_name_of(upcaster)} cannot upcast {upcaster.event_type} from version "
        f"{upcaster.source_version} to the next: it {problem}; it must accept every payload of "
        "that version",
        event_type=upcaster.event_type,
        stored_version=stored,
        class_version=wanted,
        step=upcaster.source_version,
    ) from (None if cause is None else ConcealedError(cause))


def _ensure_usable(upcaster: IEventUpcaster) -> None:
    if not isinstance(upcaster, IEventUpcaster):
        raise UpcasterChainError(
            f"{upcaster!r} is not an upcaster; pass an instance of an EventUpcaster"
        )
    version: object = upcaster.source_version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        problem = f"of {_name_of(upcaster)} is not valid; versions count from 1"
        raise UpcasterChainError.at_step(upcaster.event_type, version, problem)


def _name_of(upcaster: IEventUpcaster) -> str:
    return type(upcaster).__qualname__
