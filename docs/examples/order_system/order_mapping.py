"""How a file of orders is written: its columns and the spelling of its values."""

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


def _text_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(f"there is no encoding {name} for text") from None
    return name


def _telling_format(date_format: str) -> str:
    day = datetime(2026, 1, 31)
    try:
        if datetime.strptime(day.strftime(date_format), date_format).date() == day.date():
            return date_format
    except (ValueError, re.error):
        pass
    raise ValueError("it should tell day, month and year, as strptime reads them")


class Columns(ValueObject, extra="forbid"):
    """The name of the column for each fact; None where the file does not tell it."""

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
    """Read from a JSON file; what it leaves out is as in the sample of this folder.

    ``date_format`` is one of ``strptime``; a time without a zone is UTC. An order whose id begins
    with ``cancellation_prefix`` is a cancellation.
    """

    columns: Columns = Columns()
    delimiter: str = Field(default=",", pattern=r'^[^"\r\n]$')
    encoding: Annotated[str, AfterValidator(_text_encoding)] = "utf-8-sig"
    decimal: Literal[".", ","] = "."
    date_format: Annotated[str, AfterValidator(_telling_format)] = "%Y-%m-%d"
    cancellation_prefix: str | None = Field(default=None, min_length=1)

    @classmethod
    def read(cls, path: Path) -> OrderMapping:
        """Raises ``ValidationError`` that names the file and what is wrong in it."""
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

    def date(self, text: str) -> datetime:
        """Raises ``ValueError``."""
        read = datetime.strptime(text, self.date_format)
        try:
            return (read if read.tzinfo else read.replace(tzinfo=timezone.utc)).astimezone(
                timezone.utc
            )
        except OverflowError:
            raise ValueError("it is out of range in UTC") from None

    def number(self, text: str) -> str:
        """With a point, as Python reads it; raises ``ValueError`` for another decimal sign."""
        if self.decimal == ",":
            if "." in text:
                raise ValueError("the decimal sign of this file is a comma")
            return text.replace(",", ".")
        return text
