"""Mistakes in the arguments of constructors, with the beginning of the error of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqrs_ddd_core import ConfigError

Mistakes = dict[str, tuple[Callable[[], object], str]]
"""Call with the mistake, and the beginning of its error, by name."""


def ensure_config_error(create: Callable[[], object], message: str) -> None:
    """Assert that the call raises a ``ConfigError`` that begins with the message."""
    with pytest.raises(ConfigError) as caught:
        create()

    assert str(caught.value).startswith(message)
