"""Mappings, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..exceptions import MergeConflictError
from ..ports.conflict import ABSENT, IMergeStrategy
from .merging import MergeStrategy, both_changed, three_way


class FieldLevelMergeStrategy(MergeStrategy):
    """Each field for itself; one that both sides changed differently goes to its strategy.

    To remove a field is to change it. Raises ``MergeConflictError`` with all fields in conflict:
    those without a strategy, and those whose strategy finds one.

    Args:
        fields: strategies by the name of the field.
        default: for the fields that are not named there.
    """

    def __init__(
        self,
        fields: Mapping[str, IMergeStrategy] | None = None,
        *,
        default: IMergeStrategy | None = None,
    ) -> None:
        self._fields = dict(fields or {})
        self._default = default

    def resolve(self, base: Any, theirs: Any, mine: Any) -> Any:
        if not _are_mappings(base, theirs, mine):
            raise both_changed(theirs, mine)
        before = {} if base is ABSENT else base
        merged: dict[Any, Any] = {}
        reasons: dict[str, str] = {}
        for name in {**theirs, **mine}:
            was, stored, new = (side.get(name, ABSENT) for side in (before, theirs, mine))
            try:
                value = three_way(was, stored, new, partial(self._resolve_field, name))
            except MergeConflictError as conflict:
                reasons |= _under(str(name), conflict)
                continue
            if value is not ABSENT:
                merged[name] = value
        if reasons:
            told = "; ".join(f"{path} ({reason})" for path, reason in reasons.items())
            raise MergeConflictError(
                f"cannot merge {told}; choose one side, or give these fields a strategy",
                reasons=reasons,
            )
        return merged

    def _resolve_field(self, name: str, base: Any, theirs: Any, mine: Any) -> Any:
        strategy = self._fields.get(name, self._default)
        if strategy is None:
            raise both_changed(theirs, mine)
        return strategy.merge(base, theirs, mine)


class DeepMergeStrategy(FieldLevelMergeStrategy):
    """The same through nested mappings; of a list as a whole, unless it has a strategy.

    Args:
        fields: strategies by the name of the field, at the top.
        default: for whatever else both changed and is no mapping, at any depth.
    """

    def _resolve_field(self, name: str, base: Any, theirs: Any, mine: Any) -> Any:
        if name not in self._fields and _are_mappings(base, theirs, mine):
            return DeepMergeStrategy(default=self._default).resolve(base, theirs, mine)
        return super()._resolve_field(name, base, theirs, mine)


def _are_mappings(base: Any, theirs: Any, mine: Any) -> bool:
    """Where both sides added one, there was none before."""
    before = base is ABSENT or isinstance(base, Mapping)
    return before and isinstance(theirs, Mapping) and isinstance(mine, Mapping)


def _under(name: str, conflict: MergeConflictError) -> dict[str, str]:
    """The reasons of a conflict in a field, by their paths from here."""
    reasons = conflict.reasons or {"": str(conflict)}
    return {f"{name}.{path}" if path else name: reason for path, reason in reasons.items()}
