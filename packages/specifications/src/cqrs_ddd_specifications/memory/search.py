"""``regex``, by Python's own engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..exceptions import SpecificationValueError
from ..field_types import FieldType
from ..operators import IREGEX, REGEX, Operator
from .check import Check, calling_unless_none


def _searching(flags: re.RegexFlag) -> Callable[[str, FieldType], Check]:
    def check(expression: str, field_type: FieldType) -> Check:
        try:
            search = re.compile(expression, flags).search
        except (re.error, OverflowError, RecursionError) as error:
            raise SpecificationValueError(
                f"{expression[:60]!r} is no regular expression: {error}"
            ) from error
        return calling_unless_none(lambda actual: search(actual) is not None)

    return check


CHECKS: dict[Operator, Callable[[Any, FieldType], Check]] = {
    REGEX: _searching(re.NOFLAG if hasattr(re, "NOFLAG") else re.RegexFlag(0)),
    IREGEX: _searching(re.IGNORECASE),
}
