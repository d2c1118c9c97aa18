"""Texts about errors for logs and tables, with names, codes and places and without values.

Messages of other libraries repeat values: pydantic its input, PostgreSQL the failing row, Python
the argument of ``int``. Values may be personal, and logs and dead letters outlive the rows.
"""

import errno
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath

import pydantic

from .base import CQRSDDDError

__all__ = ["ConcealedError", "describe_error"]

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
        orig: the error; the chain of its causes is cut after ten errors.

    Attributes:
        orig: the error, with its text.
    """

    def __init__(self, orig: BaseException) -> None:
        self._copy(orig)
        last = self
        for cause in islice(_iterate_causes(orig), _LONGEST_CHAIN - 1):
            copy = ConcealedError.__new__(ConcealedError)
            copy._copy(cause)
            last.__cause__ = copy
            last = copy

    def _copy(self, error: BaseException) -> None:
        self.args = (describe_error(error),)
        self.orig = error
        self.__traceback__ = error.__traceback__


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
    """Return the path and the code of each finding, such as ``lines.*.price: missing``."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_describe_path(each['loc'])}: {each['type']}" for each in found[:_SHOWN_FINDINGS]]
    return ", ".join(shown + (["..."] if len(found) > _SHOWN_FINDINGS else []))


def _describe_path(location: tuple[int | str, ...]) -> str:
    """Return the dotted path of a finding, with a star for each part but a declared field.

    A path does not distinguish an index from the key of a dict, which may be personal.
    """
    return ".".join(str(part) if _is_field(part) else "*" for part in location) or "all"


def _is_field(name: int | str) -> bool:
    """Return whether a model of the process declares a field with this name or alias."""
    pending = pydantic.BaseModel.__subclasses__()
    while pending:
        model = pending.pop()
        pending += model.__subclasses__()
        fields = getattr(model, "__pydantic_fields__", {})
        if name in fields or any(name == field.validation_alias for field in fields.values()):
            return True
    return False


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    while True:
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        if cause is None:
            return
        yield cause
        error = cause


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
