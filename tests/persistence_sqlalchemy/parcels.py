"""A repository written by hand, as users wrote them before there was one to subclass."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, delete, select, update

from cqrs_ddd_core.ports import IRepository, SearchResult, UnitOfWork
from cqrs_ddd_core.primitives.exceptions import OptimisticConcurrencyError, PersistenceError
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_persistence_sqlalchemy.driver import inserting, translated
from cqrs_ddd_persistence_sqlalchemy.engines import SessionFactory
from cqrs_ddd_persistence_sqlalchemy.joining import joined


class Parcels(IRepository[Parcel, str]):
    def __init__(self, session_factory: SessionFactory, schema: str | None) -> None:
        self._session_factory = session_factory
        self.metadata = MetaData(schema=schema)
        self._parcels = Table(
            "parcels",
            self.metadata,
            Column("id", Text, primary_key=True),
            Column("owner", Text, nullable=False),
            Column("grams", BigInteger),
            Column("note", Text),
            Column("version", BigInteger, nullable=False),
        )

    async def add(self, entity: Parcel, uow: UnitOfWork | None = None) -> str:
        parcels = self._parcels
        row = {"owner": entity.owner, "grams": entity.grams, "note": entity.note}
        row["version"] = entity.next_version
        async with joined(uow, self._session_factory, "add a parcel") as active:
            with translated(PersistenceError, "add a parcel"):
                connection = await active.connection()
                if entity.version == 0:
                    insert = inserting(connection, parcels).values({"id": entity.id, **row})
                    result: Any = await connection.execute(insert.on_conflict_do_nothing())
                else:
                    result = await connection.execute(
                        update(parcels)
                        .where(parcels.c.id == entity.id, parcels.c.version == entity.version)
                        .values(row)
                    )
            if not result.rowcount:
                raise OptimisticConcurrencyError(f"parcel {entity.id} is at another version")
            active.aggregates.saved(entity, entity.next_version)
            return entity.id

    async def get(self, entity_id: str, uow: UnitOfWork | None = None) -> Parcel | None:
        found = await self.list_all([entity_id], uow)
        return found[0] if found else None

    async def list_all(
        self, entity_ids: list[str] | None = None, uow: UnitOfWork | None = None
    ) -> list[Parcel]:
        query = select(self._parcels)
        if entity_ids is not None:
            query = query.where(self._parcels.c.id.in_(entity_ids))
        async with joined(uow, self._session_factory, "read parcels") as active:
            with translated(PersistenceError, "read parcels"):
                rows = (await (await active.connection()).execute(query)).mappings().all()
            found = []
            for row in rows:
                parcel = Parcel(**{name: row[name] for name in ("id", "owner", "grams", "note")})
                parcel.mark_persisted(row["version"])
                active.aggregates.loaded(parcel)
                found.append(parcel)
            return found

    async def delete(self, entity_id: str, uow: UnitOfWork | None = None) -> str:
        async with joined(uow, self._session_factory, "delete a parcel") as active:
            await (await active.connection()).execute(
                delete(self._parcels).where(self._parcels.c.id == entity_id)
            )
            return entity_id

    async def search(self, criteria: Any, uow: UnitOfWork | None = None) -> SearchResult[Parcel]:
        raise NotImplementedError
