"""Numbers that a column cannot hold, and what comparing with them means all the same."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from sqlalchemy import BigInteger, Integer, Numeric, SmallInteger
from sqlalchemy.types import TypeEngine

from cqrs_ddd_specifications.operators import EQ, GE, LE, LT, Operator

from ..schema.column_types import ExactDecimal

_DIGITS = 10_000


@dataclass(frozen=True)
class Grid:
    """What a column of numbers can hold: steps of ``10 ** -scale`` below ``limit``."""

    scale: int | None
    limit: Decimal | None

    def holds(self, number: Decimal) -> bool:
        return self._fits(number) and (self.scale is None or number == self._rounded(number, EQ))

    def nearest(self, operator: Operator, number: Decimal) -> Decimal | bool:
        """The number that makes the same comparison; or its result for all that is not None."""
        if operator is EQ:
            return number if self.holds(number) else False
        if not self._fits(number):
            return (number > 0) is (operator in (LT, LE))
        return number if self.scale is None else self._rounded(number, operator)

    def _fits(self, number: Decimal) -> bool:
        return self.limit is None or -self.limit <= number < self.limit

    def _rounded(self, number: Decimal, operator: Operator) -> Decimal:
        assert self.scale is not None
        if number.as_tuple().exponent >= -self.scale:  # type: ignore[operator]
            return number
        step = Decimal(1).scaleb(-self.scale)
        # x < 1.5 is x < 2 and x > 1.5 is x > 1 where only whole numbers are held.
        up = operator in (LT, GE)
        rounding = ROUND_CEILING if up else ROUND_FLOOR
        return number.quantize(step, rounding, Context(prec=_DIGITS))


WHOLE_NUMBERS = Grid(0, Decimal(2**63))


def grid_of(kind: TypeEngine[Any], *, is_stored_so: bool = False) -> Grid:
    """``is_stored_so``: the number has to fit the column itself, as an element of an array does."""
    if isinstance(kind, ExactDecimal):
        return Grid(kind.scale, Decimal(10) ** (kind.precision - kind.scale))
    if isinstance(kind, Integer):
        return Grid(0, Decimal(2 ** ((_bits(kind) if is_stored_so else 64) - 1)))
    if isinstance(kind, Numeric) and (kind.scale is not None or kind.precision is not None):
        scale = kind.scale or 0
        whole = None if kind.precision is None else kind.precision - scale
        return Grid(scale, None if whole is None else Decimal(10) ** whole)
    return Grid(None, None)


def _bits(kind: Integer) -> int:
    if isinstance(kind, SmallInteger):
        return 16
    return 64 if isinstance(kind, BigInteger) else 32
