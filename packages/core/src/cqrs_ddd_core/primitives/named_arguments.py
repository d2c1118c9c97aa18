"""Models whose constructors reject unknown arguments."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pydantic

from .exceptions import UnknownArgumentError

_OWN_VALIDATORS = frozenset({"_has_identity"})
"""Names of validators of this package, which read no argument but fields."""


class NamedArguments:
    """Base of models that reject unknown arguments of the constructor, and of ``model_copy``.

    Stored data is validated with ``model_validate``, which ignores unknown fields, so that old code
    can read the data of new code.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # Checkers derive the arguments from the fields.

        def __init__(self, /, **data: Any) -> None:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
            if len(self.__pydantic_fields_set__) < len(data) or self.__pydantic_post_init__:
                ensure_known_arguments(type(self), data)

        # Without the mark, pydantic would call the constructor for stored data, too.
        __init__.__pydantic_base_init__ = True

        def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
            """Return a copy, with other fields if ``update`` is given.

            Raises:
                UnknownArgumentError: ``update`` has a name that is not the name of a field.
            """
            if update and self.model_config.get("extra") != "allow":
                _ensure_among(type(self).model_fields, update, type(self))
            return super().model_copy(update=update, deep=deep)


def ensure_known_arguments(model: type[pydantic.BaseModel], given: Collection[str]) -> None:
    """Raise ``UnknownArgumentError`` for an argument that no field of the model reads.

    A constructor or a validator of the class's own may accept further arguments.
    """
    known = _list_arguments(model)
    if known is not None:
        _ensure_among(known, given, model)


def _ensure_among(known: Collection[str], given: Collection[str], model: type) -> None:
    for name in given:
        if name not in known:
            raise UnknownArgumentError.of_class(model.__name__, name, known)


@lru_cache(maxsize=256)
def _list_arguments(model: type[pydantic.BaseModel]) -> Mapping[str, None] | None:
    """Return the names that the fields are read from, or None if there may be others."""
    config: Mapping[str, Any] = {**model.model_config}
    if config.get("extra") == "allow" or model.__pydantic_custom_init__:
        return None
    validators = dict(model.__pydantic_decorators__.model_validators)
    for name in _OWN_VALIDATORS:
        validators.pop(name, None)
    if any(each.info.mode != "after" for each in validators.values()):
        return None
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    names: list[str] = []
    for name, field in model.model_fields.items():
        aliases = _list_aliases(field.validation_alias)
        names += [*aliases, name] if by_name or not aliases else aliases
    return dict.fromkeys(names)


def _list_aliases(alias: str | pydantic.AliasPath | pydantic.AliasChoices | None) -> list[str]:
    if alias is None:
        return []
    choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
    return [each if isinstance(each, str) else str(each.path[0]) for each in choices]
