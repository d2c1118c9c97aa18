"""The five packages as they stand in the tree."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


@dataclass(frozen=True)
class Package:
    folder: Path
    name: str
    import_name: str

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.import_name

    def project(self) -> dict[str, Any]:
        """Return the project table of its pyproject.toml."""
        table = read_toml(self.folder / "pyproject.toml")["project"]
        assert isinstance(table, dict)
        return table

    def required_names(self, extra: str | None = None) -> set[str]:
        """Return the names of the dependencies, or of the dependencies that an extra adds."""
        project = self.project()
        wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
        return {re.split(r"[^\w.-]", requirement)[0] for requirement in wanted}


CORE = Package(ROOT / "packages/core", "cqrs-ddd-core", "cqrs_ddd_core")
PACKAGES = (
    CORE,
    Package(ROOT / "packages/advanced", "cqrs-ddd-advanced-core", "cqrs_ddd_advanced_core"),
    Package(ROOT / "packages/specifications", "cqrs-ddd-specifications", "cqrs_ddd_specifications"),
    Package(
        ROOT / "packages/persistence/sqlalchemy",
        "cqrs-ddd-persistence-sqlalchemy",
        "cqrs_ddd_persistence_sqlalchemy",
    ),
    Package(ROOT / "packages/infrastructure/redis", "cqrs-ddd-redis", "cqrs_ddd_redis"),
)
