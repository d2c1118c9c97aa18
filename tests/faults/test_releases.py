"""Tests of a release that is rolled out, and taken back, while the earlier one runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_persistence_sqlalchemy import Tables
from tests.faults import shop_before
from tests.faults.crashing import Place
from tests.faults.releasing import AFTER, BEFORE, ReleaseError, run_release


@pytest.fixture
async def place(engine: AsyncEngine, database_url: str, tables: Tables, tmp_path: Path) -> Place:
    async with engine.begin() as connection:
        await connection.run_sync(shop_before.Base.metadata.drop_all)
        await connection.run_sync(shop_before.Base.metadata.create_all)
    return Place(database_url, tables.schema, tmp_path)


async def test_release_is_rolled_out_and_taken_back_while_both_run(
    place: Place, engine: AsyncEngine
) -> None:
    pay = {"wallet_id": "w-1", "cents": 100}
    with run_release(BEFORE, place) as old:
        assert old.send("Pay", **pay, command_id="c-1") == 100
        async with engine.begin() as connection:
            await connection.execute(
                text("ALTER TABLE receipts ADD COLUMN currency TEXT NOT NULL DEFAULT 'EUR'")
            )
        with run_release(AFTER, place) as new:
            # A command that was handled by one release is known to the other.
            assert new.send("Pay", **pay, command_id="c-1") == 100
            assert new.send("Pay", **pay, command_id="c-2") == 200
            assert old.send("Pay", **pay, command_id="c-2") == 200
            assert new.send("Pay", **pay, note="a present", command_id="c-3") == 300
            assert old.send("Pay", **pay, command_id="c-4") == 400
            assert new.read_balance("w-1") == {"cents": 400}
            assert old.publish() == [100] * 4
            assert new.send("Pay", **pay) == 500
            assert new.publish() == [100]

            new.rebuild("BalancesWithCount")
            assert new.send("Pay", **pay) == 600
            assert new.read_balance("w-1") == {"total": 600, "payments": 6}
            # The old release no longer changes wallets, and loses nothing.
            with pytest.raises(ReleaseError, match=r"ProjectionVersionError: version 2"):
                old.send("Pay", **pay, command_id="c-5")
            assert old.send("Inspect", wallet_id="w-1") == 600

            new.rebuild("Balances", replace_later=True)
            assert old.send("Pay", **pay, command_id="c-5") == 700
            assert new.send("Pay", **pay, command_id="c-5") == 700
            assert old.read_balance("w-1") == {"cents": 700}

    async with engine.connect() as connection:
        (receipt,) = await connection.execute(text("SELECT cents, currency FROM receipts"))
    assert tuple(receipt) == (700, "CHF")


async def test_release_that_was_taken_back_starts_with_documents_of_a_later_version(
    place: Place, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE receipts ADD COLUMN currency TEXT NOT NULL DEFAULT 'EUR'")
        )
    with run_release(AFTER, place) as new:
        assert new.send("Pay", wallet_id="w-1", cents=5) == 5

    with run_release(BEFORE, place) as old:
        assert old.send("Inspect", wallet_id="w-1") == 5
        with pytest.raises(ReleaseError, match=r"ProjectionVersionError: version 2"):
            old.send("Pay", wallet_id="w-1", cents=5)
        with pytest.raises(ReleaseError, match=r"replace_later=True"):
            old.rebuild("Balances")
        old.rebuild("Balances", replace_later=True)
        assert old.send("Pay", wallet_id="w-1", cents=5) == 10
        assert old.read_balance("w-1") == {"cents": 10}
