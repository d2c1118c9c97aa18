"""Under which keys pydantic takes the fields of a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

from ..primitives.exceptions import ConfigError


@lru_cache(maxsize=256)
def validation_keys(model: type[BaseModel]) -> Mapping[str, str]:
    """By name, for the fields that are taken by an alias only; raises ``ConfigError`` for a path.

    Validation would take such a field for absent, and put its default in the place of its value.
    """
    config: Mapping[str, Any] = {**model.model_config}
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return {}
    return {
        name: _key_in(alias, name, model)
        for name, field in model.model_fields.items()
        if (alias := field.validation_alias) is not None
    }


def _key_in(alias: str | AliasPath | AliasChoices, name: str, model: type[BaseModel]) -> str:
    for each in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(each, str):
            return each
    raise ConfigError(
        f"{model.__name__}.{name} is taken from inside of another value ({alias!r}), so a state "
        "cannot be validated; give it a plain alias, or set populate_by_name=True"
    )
