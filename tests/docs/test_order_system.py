"""The order system as its user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = (
    "order_id,customer_id,order_date,shipped_date,ship_city,ship_country,"
    "product_id,product_name,quantity,unit_price,discount"
)
LINE = "1,ANNA,2026-01-02,2026-01-05,Lund,Sweden,P,Tea,2,3.50,0.10"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "order_system", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs/examples"), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.csv"


def test_the_sample_gives_its_figures() -> None:
    process = _run()

    assert process.returncode == 0, process.stderr
    assert "12 orders, 25 lines, 5 customers, 4 countries" in process.stdout
    assert "2,851.18" in process.stdout
    assert "importing orders.csv" in process.stderr


def test_a_file_of_ones_own_is_taken(file: Path) -> None:
    file.write_text(f"{HEAD}\n{LINE}\n2,ANNA,2026-01-02,,Lund,Sweden,P,Tea,1,0.333,0\n")

    process = _run(file)

    assert "2 orders, 2 lines, 1 customers, 1 countries" in process.stdout
    assert "6.63" in process.stdout


def test_a_repeated_line_counts_once(file: Path) -> None:
    file.write_text(f"{HEAD}\n{LINE}\n{LINE}\n{LINE}\n")

    process = _run(file)

    assert "1 orders, 1 lines" in process.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column order_id, customer_id"),
        (f"{HEAD.replace('quantity,', '')}\n", "has no column quantity; its first line names them"),
        (f"{HEAD}\n{LINE.replace(',2,3.50', ',two,3.50')}", "line 2: quantity is 'two'"),
        (f"{HEAD}\n{LINE.replace(',2,3.50', ',-2,3.50')}", "line 2: quantity is '-2'"),
        (f"{HEAD}\n{LINE.replace('3.50', 'NaN')}", "line 2: unit_price is 'NaN'"),
        (f"{HEAD}\n{LINE.replace('0.10', '10')}", "line 2: discount is '10'"),
        (f"{HEAD}\n{LINE.replace('ANNA', ' ')}", "line 2: customer_id is ' '"),
        (f"{HEAD}\n{LINE.replace('2026-01-02', '02.01.2026')}", "should be a date like 2026-01-31"),
        (f"{HEAD}\n{LINE},surplus", "line 2 has more cells than columns"),
        (f"{HEAD}\n1,ANNA", "line 2: order_date is ''"),
        (f"{HEAD}\n{LINE}\n{LINE.replace(',2,3.50', ',9,3.50')}", "order 1 has 2 of Tea already"),
    ],
)
def test_a_bad_file_is_named_with_line_and_column(file: Path, text: str, message: str) -> None:
    file.write_text(text)

    process = _run(file)

    assert process.returncode == 1
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"order_id\n\xff\xfe")

    missing, folder, binary = _run(tmp_path / "none.csv"), _run(tmp_path), _run(file)

    assert "No such file" in missing.stderr
    assert "Is a directory" in folder.stderr
    assert "is not UTF-8 at byte 9; convert it" in binary.stderr
    assert {missing.returncode, folder.returncode, binary.returncode} == {1}
