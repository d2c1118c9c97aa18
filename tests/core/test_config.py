from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cqrs_ddd_core.config import EnvConfig
from cqrs_ddd_core.primitives.exceptions import ConfigError


@dataclass(frozen=True)
class Settings(EnvConfig):
    database_url: str
    max_retries: int = 3
    verbose: bool = False
    pause: timedelta = timedelta(seconds=1)
    folder: Path | None = None
    hosts: list[str] = field(default_factory=list)
    password: SecretStr | None = None

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(f"max_retries is {self.max_retries}, below 0")


def test_environment_variables_are_parsed_by_field_type() -> None:
    settings = Settings.from_env(
        environ={
            "DATABASE_URL": "sqlite://",
            "MAX_RETRIES": "7",
            "VERBOSE": "yes",
            "PAUSE": "PT2S",
            "FOLDER": "/tmp",
            "HOSTS": '["a", "b"]',
        }
    )

    assert settings == Settings(
        "sqlite://", 7, True, timedelta(seconds=2), Path("/tmp"), ["a", "b"]
    )


def test_unset_environment_variable_uses_the_default() -> None:
    assert Settings.from_env(environ={"DATABASE_URL": ""}) == Settings("")


def test_from_env_adds_its_prefix_to_every_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", "sqlite://")
    monkeypatch.setenv("DATABASE_URL", "another")

    assert Settings.from_env("shop_").database_url == "sqlite://"


def test_config_error_names_a_missing_variable() -> None:
    with pytest.raises(ConfigError, match="SHOP_DATABASE_URL is not set; Settings needs it") as e:
        Settings.from_env("SHOP_", environ={})

    assert e.value.variable == "SHOP_DATABASE_URL"
    assert isinstance(e.value, ValueError)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("MAX_RETRIES", "many"), ("VERBOSE", "perhaps"), ("HOSTS", "a,b"), ("HOSTS", '["a", 1]')],
)
def test_config_error_names_an_invalid_variable_without_its_value(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} is not usable") as caught:
        Settings.from_env(environ={"DATABASE_URL": "x", variable: text})

    assert caught.value.variable == variable
    assert text not in str(caught.value)


def test_value_error_in_post_init_becomes_a_config_error() -> None:
    with pytest.raises(ConfigError, match="max_retries is -1, below 0"):
        Settings.from_env(environ={"DATABASE_URL": "x", "MAX_RETRIES": "-1"})


def test_settings_from_env_are_frozen_and_hide_secrets() -> None:
    settings: Any = Settings.from_env(environ={"DATABASE_URL": "x", "PASSWORD": "geheim"})

    with pytest.raises(FrozenInstanceError):
        settings.max_retries = 9
    assert "geheim" not in repr(settings)
    assert settings.password.get_secret_value() == "geheim"
