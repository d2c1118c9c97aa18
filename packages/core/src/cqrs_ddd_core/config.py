"""Settings from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, TypeVar, get_type_hints

import pydantic

from .primitives.exceptions import ConfigError

__all__ = ["EnvConfig"]

C = TypeVar("C", bound="EnvConfig")


@dataclass(frozen=True)
class EnvConfig:
    """Settings of an application: subclass it as a frozen dataclass, then call ``from_env``.

    A field ``max_retries`` is read from ``MAX_RETRIES``, with ``prefix`` before it. Values are
    parsed as pydantic parses text; lists, dicts and models are written as JSON.
    """

    @classmethod
    def from_env(cls: type[C], prefix: str = "", environ: Mapping[str, str] | None = None) -> C:
        """Create the settings from environment variables.

        Args:
            prefix: text before the name of each variable, for example ``SHOP_``.
            environ: variables to read, by default the environment of the process.

        Raises:
            ConfigError: a variable is missing, or does not fit its field; the error names it.
        """
        source = os.environ if environ is None else environ
        hints = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for field in fields(cls):
            variable = f"{prefix}{field.name}".upper()
            if variable in source:
                values[field.name] = _parse(variable, source[variable], hints[field.name])
            elif _is_required(field):
                raise ConfigError(
                    f"{variable} is not set; {cls.__name__} needs it", variable=variable
                )
        try:
            return cls(**values)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(
                f"{cls.__name__} from {prefix or 'the environment'}: {error}"
            ) from error


def _parse(variable: str, text: str, type_: Any) -> Any:
    adapter = pydantic.TypeAdapter[Any](type_)
    try:
        return adapter.validate_python(text)
    except pydantic.ValidationError as error:
        try:
            return adapter.validate_json(text)
        except pydantic.ValidationError:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise ConfigError(f"{variable} is not usable: {reason}", variable=variable) from None


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
