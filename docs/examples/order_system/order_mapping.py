"""Format of a file of orders: its columns and the notation of its values."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field

from cqrs_ddd_core import ValueObject
from cqrs_ddd_core.primitives.exceptions import ValidationError

Column = Annotated[str, Field(min_length=1)]


def _check_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(f"there is no encoding {name} for text") from None
    return name


def _check_date_format(date_format: str) -> str:
    day = datetime(2026, 1, 31)
    try:
        if datetime.strptime(day.strftime(date_format), date_format).date() == day.date():
            return date_format
    except (ValueError, re.error):
        pass
    raise ValueError("it must contain day, month and year, as in strptime")


class Columns(ValueObject, extra="forbid"):
    """Column name for each field; None if the file lacks the field."""

    order_id: Column = "order_id"
    customer_id: Column = "customer_id"
    placed_at: Column = "order_date"
    shipped_at: Column | None = "shipped_date"
    city: Column | None = "ship_city"
    country: Column = "ship_country"
    product_id: Column = "product_id"
    product: Column | None = "product_name"
    quantity: Column = "quantity"
    unit_price: Column = "unit_price"
    discount: Column | None = "discount"


class OrderMapping(ValueObject, extra="forbid"):
    """Format of an order file, read from JSON; the defaults fit the sample in this folder.

    ``date_format`` is a format of ``strptime``; a time without a time zone is UTC. An order is a
    cancellation if its id begins with ``cancellation_prefix``.
    """

    columns: Columns = Columns()
    delimiter: str = Field(default=",", pattern=r'^[^"\r\n]$')
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "utf-8-sig"
    decimal: Literal[".", ","] = "."
    date_format: Annotated[str, AfterValidator(_check_date_format)] = "%Y-%m-%d"
    cancellation_prefix: str | None = Field(default=None, min_length=1)

    @classmethod
    def read(cls, path: Path) -> OrderMapping:
        """Read a mapping; raise ``ValidationError`` with the path and the problem."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ValidationError(f"cannot read the mapping {path}: {error.strerror}") from error
        except pydantic.ValidationError as error:
            finding = error.errors()[0]
            place = ".".join(map(str, finding["loc"]))
            raise ValidationError(
                f"the mapping {path} is not usable: {f'{place}: ' if place else ''}{finding['msg']}"
            ) from None

    def parse_date(self, text: str) -> datetime:
        """Parse a date; raise ``ValueError`` if the text does not fit the format."""
        read = datetime.strptime(text, self.date_format)
        try:
            return (read if read.tzinfo else read.replace(tzinfo=timezone.utc)).astimezone(
                timezone.utc
            )
        except OverflowError:
            raise ValueError("it is out of range in UTC") from None

    def parse_number(self, text: str) -> str:
        """Return the number with a point; raise ``ValueError`` for another decimal separator."""
        if self.decimal == ",":
            if "." in text:
                raise ValueError("the decimal separator of this file is a comma")
            return text.replace(",", ".")
        return text
