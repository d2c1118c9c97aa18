"""The steps that lead old events to the shape of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cqrs_ddd_core.domain.events import DomainEvent
from cqrs_ddd_core.ports.upcasting import IEventUpcaster

from ..exceptions import UpcasterChainError, UpcastingError


class UpcasterRegistry:
    """Chains of steps, one for each event type; each step leads to the next version.

    So a chain cannot turn back, and whatever is registered in one call must leave no gap.
    """

    def __init__(self, *upcasters: IEventUpcaster) -> None:
        self._chains: dict[str, dict[int, IEventUpcaster]] = {}
        self.register(*upcasters)

    def register(self, *upcasters: IEventUpcaster) -> None:
        """All or none; raises ``UpcasterChainError`` for a taken step and for a gap."""
        chains = {event_type: dict(steps) for event_type, steps in self._chains.items()}
        for upcaster in upcasters:
            _ensure_usable(upcaster)
            steps = chains.setdefault(upcaster.event_type, {})
            holder = steps.setdefault(upcaster.source_version, upcaster)
            if holder is not upcaster:
                raise UpcasterChainError.at_step(
                    upcaster.event_type,
                    upcaster.source_version,
                    f"is {_name(holder)} already; give {_name(upcaster)} a version of its own",
                )
        for event_type, steps in chains.items():
            missing = set(range(min(steps), max(steps))) - set(steps)
            if missing:
                raise UpcasterChainError.at_step(
                    event_type, min(missing), "is missing; register it in the same call"
                )
        self._chains = chains

    def __iter__(self) -> Iterator[str]:
        """The event types that have a chain."""
        return iter(self._chains)

    def ensure_fits(self, event_class: type[DomainEvent]) -> None:
        """Raises ``UpcasterChainError`` unless the chain ends at the version of the class."""
        steps = self._chains.get(event_class.event_type)
        if not steps:
            return
        end, version = max(steps) + 1, event_class.schema_version
        if end < version:
            raise UpcasterChainError.at_step(
                event_class.event_type,
                end,
                f"is missing: {event_class.__qualname__} has schema_version {version}; register it",
            )
        if end > version:
            raise UpcasterChainError.at_step(
                event_class.event_type,
                end - 1,
                f"leads beyond {event_class.__qualname__}, which has schema_version {version}; "
                f"set schema_version = {end} there, or leave the step out",
            )

    def upcast(
        self, event_type: str, payload: Mapping[str, Any], *, stored: int, wanted: int
    ) -> Mapping[str, Any]:
        """The payload of version ``stored`` as version ``wanted``; raises ``UpcastingError``.

        The payload may be changed on the way: give a copy.
        """
        if stored > wanted:
            raise UpcastingError(
                f"stored {event_type} has schema version {stored}, but its class knows {wanted} "
                "at most: a newer program wrote it; deploy that version here too",
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
            payload = _taken(upcaster, payload, stored, wanted)
        return payload


def _taken(
    upcaster: IEventUpcaster, payload: Mapping[str, Any], stored: int, wanted: int
) -> Mapping[str, Any]:
    try:
        answer: object = upcaster.upcast(payload)
        problem = None if isinstance(answer, Mapping) else f"answered {answer!r}, not a dict"
        cause = None
    except Exception as error:
        answer, problem, cause = None, f"raised {error!r}", error
    if isinstance(answer, Mapping):
        return answer
    raise UpcastingError(
        f"{_name(upcaster)} cannot lead {upcaster.event_type} from version "
        f"{upcaster.source_version} to the next: it {problem}; it must fit every payload of its "
        "version",
        event_type=upcaster.event_type,
        stored_version=stored,
        class_version=wanted,
        step=upcaster.source_version,
    ) from cause


def _ensure_usable(upcaster: IEventUpcaster) -> None:
    if not isinstance(upcaster, IEventUpcaster):
        raise UpcasterChainError(
            f"{upcaster!r} is no upcaster; give an instance of an EventUpcaster"
        )
    version: object = upcaster.source_version
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UpcasterChainError.at_step(
            upcaster.event_type, version, f"of {_name(upcaster)} is no version; count from 1"
        )


def _name(upcaster: IEventUpcaster) -> str:
    return type(upcaster).__qualname__
