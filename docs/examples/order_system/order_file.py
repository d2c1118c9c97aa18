"""Conversion of a file of order lines to commands."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pydantic

from cqrs_ddd_core.primitives.exceptions import ValidationError

from .application import AddLine
from .order_mapping import OrderMapping

_ORDER_FIELDS = ("order_id", "customer_id", "city", "country", "placed_at")
_LINE_FIELDS = ("product_id", "product", "quantity", "unit_price", "discount")


@dataclass(frozen=True)
class Rejection:
    """Line that is not imported, with the reason and its cells."""

    number: int
    reason: str
    cells: Sequence[str]


@dataclass(frozen=True)
class ReadLine:
    """Line with its command; ``shipped_at`` is the shipping date of its whole order."""

    number: int
    command: AddLine
    shipped_at: datetime | None
    cells: Sequence[str]

    def reject(self, reason: object) -> Rejection:
        """Return the rejection of this line."""
        return Rejection(self.number, str(reason), self.cells)


class OrderFile:
    """File that is read line by line, so its size does not matter.

    The id of a command is derived from the number and the text of its line, so it is the same at
    each read of the file.
    """

    def __init__(self, path: Path, mapping: OrderMapping | None = None) -> None:
        self.path = path
        self._mapping = mapping or OrderMapping()
        self._spellings: Mapping[str, Callable[[str], object]] = {
            "placed_at": self._mapping.parse_date,
            "shipped_at": self._mapping.parse_date,
            "unit_price": self._mapping.parse_number,
            "discount": self._mapping.parse_number,
        }

    def count(self) -> int:
        """Return the number of lines without the header and empty lines.

        Raises ``ValidationError`` if the file cannot be read to its end.
        """
        if self.path.exists() and not self.path.is_file():
            raise ValidationError(f"{self.path} is not a regular file, which can be read twice")
        with self._open_rows() as (_, rows):
            return sum(1 for _ in rows)

    def read_lines(self) -> Iterator[ReadLine | Rejection]:
        """Read the lines in the order of the file."""
        with self._open_rows() as (header, rows):
            places = {
                fact: header.index(column)
                for fact, column in self._mapping.columns
                if column is not None
            }
            for number, cells in rows:
                if len(cells) == len(header):
                    yield self._parse_line(number, cells, places)
                else:
                    reason = f"{len(cells)} cells for {len(header)} columns"
                    yield Rejection(number, reason, cells)

    def _parse_line(
        self, number: int, cells: Sequence[str], places: dict[str, int]
    ) -> ReadLine | Rejection:
        texts = {fact: cells[place].strip() for fact, place in places.items()}
        facts: dict[str, Any] = dict(texts)
        wrong: dict[str, str] = {}
        for fact, read in self._spellings.items():
            if texts.get(fact):
                try:
                    facts[fact] = read(texts[fact])
                except ValueError as error:
                    wrong[fact] = str(error)
        placed_at, shipped_at = facts["placed_at"], facts.get("shipped_at") or None
        if not wrong and placed_at and shipped_at and shipped_at < placed_at:
            wrong["shipped_at"] = "it is before the order date"
        line_id = _digest(cells)
        prefix = self._mapping.cancellation_prefix
        command: AddLine | None = None
        try:
            command = AddLine.model_validate(
                {
                    "command_id": f"line-{number}-{line_id}",
                    "is_cancellation": prefix is not None and texts["order_id"].startswith(prefix),
                    "line": {"id": line_id, "product": "", **_pick(facts, _LINE_FIELDS)},
                    **_pick(facts, _ORDER_FIELDS),
                }
            )
        except pydantic.ValidationError as error:
            for finding in error.errors():
                wrong.setdefault(str(finding["loc"][-1]), finding["msg"])
        if wrong or command is None:
            reasons = [self._describe(fact, texts[fact], reason) for fact, reason in wrong.items()]
            return Rejection(number, "; ".join(reasons), cells)
        return ReadLine(number, command, shipped_at, cells)

    def _describe(self, fact: str, text: str, reason: str) -> str:
        column = dict(self._mapping.columns)[fact]
        return f"{column} is {text!r}: {reason}" if text else f"{column} is empty"

    @contextmanager
    def _open_rows(self) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
        """Yield the column names and an iterator of the numbered lines that are not empty.

        Raises ``ValidationError``, also during the iteration.
        """
        line = 0
        try:
            with self.path.open(encoding=self._mapping.encoding, newline="") as file:
                reader = csv.reader(file, delimiter=self._mapping.delimiter, strict=True)

                def rows() -> Iterator[tuple[int, list[str]]]:
                    nonlocal line
                    for cells in reader:
                        number, line = line + 1, reader.line_num
                        if cells:
                            yield number, cells

                found = rows()
                _, header = next(found, (0, []))
                self._ensure_columns(header)
                yield header, found
        except OSError as error:
            raise ValidationError(
                f"cannot read {self.path}: {error.strerror}; give another file"
            ) from error
        except UnicodeError as error:
            reason = error.reason if isinstance(error, UnicodeDecodeError) else error
            raise ValidationError(
                f"{self.path} is not {self._mapping.encoding}: {reason}; set its encoding in a "
                "mapping"
            ) from error
        except csv.Error as error:
            raise ValidationError(
                f"{self.path} is invalid after line {line}: {error}; look there for a missing "
                "closing quote"
            ) from error

    def _ensure_columns(self, header: Sequence[str]) -> None:
        wanted = [column for _, column in self._mapping.columns if column is not None]
        if missing := [column for column in wanted if column not in header]:
            raise ValidationError(
                f"{self.path} has no column {', '.join(missing)}; its first line names "
                f"{', '.join(header) or 'none'}; set the column names in a mapping"
            )
        if twice := [column for column in wanted if header.count(column) > 1]:
            raise ValidationError(f"{self.path} has the column {', '.join(twice)} twice")


def _digest(cells: Sequence[str]) -> str:
    # Includes the lengths; otherwise cells of two different lines could join to the same text.
    text = "".join(f"{len(cell)}:{cell}" for cell in cells)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _pick(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: facts[name] for name in names if name in facts}
