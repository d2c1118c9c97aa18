"""Texts about errors for logs and tables, with names, codes and places and without values.

Messages of other libraries repeat values: pydantic its input, PostgreSQL the failing row, Python
the argument of ``int``. Values may be personal, and logs and dead letters outlive the rows.
"""

import errno
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import TypeVar

import pydantic

from .base import CQRSDDDError

__all__ = ["ConcealedError", "describe_error", "describe_path"]

E = TypeVar("E", bound=BaseException)

_FACTS = (
    *("sqlstate", "sqlite_errorname", "schema_name", "table_name", "column_name"),
    *("constraint_name", "data_type_name", "status_code"),
)
"""Attributes of errors of drivers and clients that hold codes and names."""
_LONGEST_CHAIN = 10
_SHOWN_FINDINGS = 10


class ConcealedError(Exception):
    """Copy of an error and of its causes, with descriptions instead of their texts.

    It is the cause of an error of the toolkit, and the ``exc_info`` of a log record.

    Args:
        orig: the error.
        depth: number of this error in the chain of causes, which is cut after ten.

    Attributes:
        orig: the error, with its text.
    """

    def __init__(self, orig: BaseException, *, depth: int = 1) -> None:
        super().__init__(describe_error(orig))
        self.orig = orig
        self.__traceback__ = orig.__traceback__
        cause = orig.__cause__
        if cause is None and not orig.__suppress_context__:
            cause = orig.__context__
        if cause is not None and depth < _LONGEST_CHAIN:
            self.__cause__ = ConcealedError(cause, depth=depth + 1)


def describe_error(error: BaseException) -> str:
    """Return the class of an error with its codes and its place in the code.

    Only an error of the toolkit's tree adds its message, which must not contain values; this
    applies to subclasses in applications, too.
    """
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(error, CQRSDDDError):
        text = str(error)
        return f"{kind.__name__}: {text}" if text else kind.__name__
    if isinstance(error, ConcealedError):
        return str(error)
    if isinstance(error, pydantic.ValidationError):
        return f"{kind.__name__} of {error.title} ({describe_findings(error)})"
    facts = ", ".join(_list_facts(error))
    return f"{name}{f' ({facts})' if facts else ''}{_describe_place(error)}"


def describe_findings(error: pydantic.ValidationError) -> str:
    """Return the path and the code of each finding, such as ``lines.0.price: missing``."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{describe_path(each['loc'])}: {each['type']}" for each in found[:_SHOWN_FINDINGS]]
    return ", ".join(shown + (["..."] if len(found) > _SHOWN_FINDINGS else []))


def describe_path(location: tuple[int | str, ...]) -> str:
    """Return the dotted path of a finding; any key but a name is replaced by a star."""
    parts = (
        str(part) if isinstance(part, int) or part.isidentifier() else "*" for part in location
    )
    return ".".join(parts) or "all"


def _list_facts(error: BaseException) -> Iterator[str]:
    # SQLAlchemy wraps the error of its adapter, which wraps the error of asyncpg.
    orig = getattr(error, "orig", None) or error
    sources = (error, orig, getattr(orig, "__cause__", None))
    if orig is not error:
        yield type(orig).__name__
    for name in _FACTS:
        value = next((v for each in sources if (v := getattr(each, name, None))), None)
        if isinstance(value, (str, int)):
            yield str(value)
    if isinstance(orig, OSError) and orig.errno is not None:
        yield errno.errorcode.get(orig.errno, str(orig.errno))


def _describe_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}"
