"""Tables of the toolkit: their creation, checks and removal."""

from .installation import (
    check,
    create_schema,
    install,
    install_advanced,
    install_core,
    remove,
    remove_advanced,
)

__all__ = [
    "check",
    "create_schema",
    "install",
    "install_advanced",
    "install_core",
    "remove",
    "remove_advanced",
]
