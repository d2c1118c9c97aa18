"""A file of order lines, as commands."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import pydantic

from cqrs_ddd_core import Command
from cqrs_ddd_core.primitives.exceptions import ValidationError

from .application import AddLine, PlaceOrder, ShipOrder
from .domain import OrderLine

M = TypeVar("M", bound=pydantic.BaseModel)

COLUMNS = (
    "order_id",
    "customer_id",
    "order_date",
    "shipped_date",
    "ship_city",
    "ship_country",
    "product_id",
    "product_name",
    "quantity",
    "unit_price",
    "discount",
)


def read_commands(path: Path) -> list[Command[str]]:
    """Place, add each line, ship; the ids are the same each time the file is read.

    The lines of an order stand together. Raises ``ValidationError`` that names line and column.
    """
    commands: list[Command[str]] = []
    shipping: ShipOrder | None = None
    order_id = ""
    for row in _rows(path):
        if row["order_id"] != order_id:
            commands += [shipping] if shipping else []
            order_id = row["order_id"]
            commands.append(_placing(row))
        commands.append(_adding(row))
        shipping = _shipping(row)
    return [*commands, shipping] if shipping else commands


class _Row(dict[str, str]):
    """One line, which knows its place for messages."""

    def __init__(self, cells: dict[str, str], place: str) -> None:
        super().__init__(cells)
        self._place = place

    def wrong(self, column: str, reason: str) -> ValidationError:
        text = f"{self._place}: {column} is {self[column]!r}: {reason}"
        return ValidationError(text, errors={column: [text]})

    def date(self, column: str) -> datetime:
        try:
            return datetime.strptime(self[column], "%Y-%m-%d").replace(tzinfo=timezone.utc)
        except ValueError:
            raise self.wrong(column, "it should be a date like 2026-01-31") from None

    def made_into(self, model: type[M], columns: Mapping[str, str], **further: object) -> M:
        """A model of the cells; ``columns`` maps its fields to the columns they are in."""
        cells = {field: self[column].strip() for field, column in columns.items()}
        try:
            return model.model_validate({**cells, **further})
        except pydantic.ValidationError as error:
            finding = error.errors()[0]
            raise self.wrong(columns[str(finding["loc"][0])], finding["msg"]) from None


def _rows(path: Path) -> Iterator[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValidationError(f"cannot read {path}: {error.strerror}; give another file") from error
    except UnicodeDecodeError as error:
        raise ValidationError(f"{path} is not UTF-8 at byte {error.start}; convert it") from error
    reader = csv.DictReader(text.splitlines(), restval="")
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ValidationError(
            f"{path} has no column {', '.join(missing)}; its first line names them"
        )
    for cells in reader:
        place = f"{path}, line {reader.line_num}"
        if None in cells:
            raise ValidationError(f"{place} has more cells than columns; quote a comma in a text")
        yield _Row(cells, place)


def _placing(row: _Row) -> PlaceOrder:
    return row.made_into(
        PlaceOrder,
        {
            "order_id": "order_id",
            "customer_id": "customer_id",
            "city": "ship_city",
            "country": "ship_country",
        },
        command_id=f"place-{row['order_id']}",
        placed_at=row.date("order_date"),
    )


def _adding(row: _Row) -> AddLine:
    line = row.made_into(
        OrderLine,
        {
            "product_id": "product_id",
            "product": "product_name",
            "quantity": "quantity",
            "unit_price": "unit_price",
            "discount": "discount",
        },
    )
    command_id = f"line-{row['order_id']}-{line.product_id}"
    return AddLine(command_id=command_id, order_id=row["order_id"], line=line)


def _shipping(row: _Row) -> ShipOrder | None:
    if not row["shipped_date"]:
        return None
    return ShipOrder(
        command_id=f"ship-{row['order_id']}",
        order_id=row["order_id"],
        shipped_at=row.date("shipped_date"),
    )
