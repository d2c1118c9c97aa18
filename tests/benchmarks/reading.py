"""Streams and pages of events, read by the event store and by the bare drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyEventStore
from cqrs_ddd_persistence_sqlalchemy.event_store.event_rows import read_columns

from .databases import Store, fill, install_bare_tables, install_tables
from .measuring import Side

EVENTS = 30_000
STREAM_EVENTS = 10_000
PAGE = 1_000


@asynccontextmanager
async def read_stream(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_tables(url)) as store:
        events = SQLAlchemyEventStore(store.sessions, tables=store.tables)

        async def read(times: int) -> None:
            for _ in range(times):
                assert len(await events.get_events("stream-0")) == STREAM_EVENTS

        yield read


@asynccontextmanager
async def fetch_stream(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_bare_tables(url)) as store:
        connection = await store.connect()
        try:
            prepared = await connection.prepare(
                _build_select(store, "aggregate_id = $1 ORDER BY aggregate_type, version")
            )

            async def fetch(times: int) -> None:
                for _ in range(times):
                    assert len(await prepared.fetch("stream-0")) == STREAM_EVENTS

            yield fetch
        finally:
            await connection.close()


@asynccontextmanager
async def fetch_stream_in_sqlite(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_bare_tables(url)) as store:
        statement = _build_select(store, "aggregate_id = ? ORDER BY aggregate_type, version")
        with closing(store.open_sqlite()) as connection:

            async def fetch(times: int) -> None:
                for _ in range(times):
                    found = connection.execute(statement, ("stream-0",)).fetchall()
                    assert len(found) == STREAM_EVENTS

            yield fetch


@asynccontextmanager
async def catch_up(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_tables(url)) as store:
        events = SQLAlchemyEventStore(store.sessions, tables=store.tables)

        async def page(after: int) -> tuple[int, int]:
            found = await events.get_events_after(after, PAGE)
            return len(found), (found[-1].position or 0) if found else after

        yield read_pages(page)


@asynccontextmanager
async def fetch_pages(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_bare_tables(url)) as store:
        connection = await store.connect()
        try:
            prepared = await connection.prepare(
                _build_select(store, f"position > $1 ORDER BY position LIMIT {PAGE}")
            )

            async def page(after: int) -> tuple[int, int]:
                found = await prepared.fetch(after)
                return len(found), found[-1]["position"] if found else after

            yield read_pages(page)
        finally:
            await connection.close()


@asynccontextmanager
async def fetch_pages_in_sqlite(url: str) -> AsyncIterator[Side]:
    async with _fill_events(install_bare_tables(url)) as store:
        statement = _build_select(store, f"position > ? ORDER BY position LIMIT {PAGE}")
        with closing(store.open_sqlite()) as connection:

            async def page(after: int) -> tuple[int, int]:
                found = connection.execute(statement, (after,)).fetchall()
                return len(found), found[-1][0] if found else after

            yield read_pages(page)


def read_pages(page: Callable[[int], Awaitable[tuple[int, int]]]) -> Side:
    async def side(times: int) -> None:
        for _ in range(times):
            position, total = 0, 0
            while True:
                number, position = await page(position)
                if not number:
                    break
                total += number
            assert total == EVENTS

    return side


@asynccontextmanager
async def _fill_events(opening: AbstractAsyncContextManager[Store]) -> AsyncIterator[Store]:
    async with opening as store:
        await fill(store, events=EVENTS, streams=EVENTS // STREAM_EVENTS)
        yield store


def _build_select(store: Store, where: str) -> str:
    return f"SELECT {read_columns()} FROM {store.tables.events.name} WHERE {where}"
