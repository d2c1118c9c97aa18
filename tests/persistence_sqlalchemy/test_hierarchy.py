"""Tests of hierarchies in tables of an application, by the contracts and the services."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Enum,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    delete,
    event,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from cqrs_ddd_core.domain.services import (
    ACL,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    Grant,
    TraversalLimits,
)
from cqrs_ddd_core.ports.hierarchy import IAsyncAncestryReader, IAsyncBatchReader
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    HierarchyLimitExceededError,
    InvalidOperationError,
    PersistenceError,
)
from cqrs_ddd_core.testing.contracts.hierarchy import (
    FOLDERS,
    ACLReaderContract,
    AncestryReaderContract,
    Folder,
    ParentReaderContract,
    TagReaderContract,
)
from cqrs_ddd_persistence_sqlalchemy import Tables
from cqrs_ddd_persistence_sqlalchemy.hierarchy.hierarchy import (
    ACLColumns,
    SQLAlchemyHierarchyReader,
    TagColumns,
)
from tests.persistence_sqlalchemy.conftest import NewUnitOfWork, SessionFactory

R = TypeVar("R")
Reader = SQLAlchemyHierarchyReader[str]


class FolderTables:
    """Tables of an application that does not use the toolkit."""

    def __init__(
        self, engine: AsyncEngine, schema: str | None, id_type: TypeEngine[Any] | None = None
    ) -> None:
        key = id_type or Text()
        self.engine = engine
        self.metadata = MetaData(schema=schema)
        self.folders = Table(
            "folders",
            self.metadata,
            Column("id", key, primary_key=True),
            Column("access", Text),
        )
        self.links = Table(
            "folder_links",
            self.metadata,
            Column("child_id", key, primary_key=True),
            Column("position", BigInteger, primary_key=True),
            Column("parent_id", key, nullable=False),
        )
        self.tags = Table(
            "folder_tags",
            self.metadata,
            Column("folder_id", key, primary_key=True),
            Column("position", BigInteger, primary_key=True),
            Column("tag", Text, nullable=False),
        )
        self.grants = Table(
            "folder_grants",
            self.metadata,
            Column("folder_id", key, primary_key=True),
            Column("principal", Text, primary_key=True),
            Column("permission", Text, primary_key=True),
            Column("effect", Text),
        )

    def columns(self) -> dict[str, Any]:
        links, tags, grants = self.links.c, self.tags.c, self.grants.c
        return {
            "node_id": self.folders.c.id,
            "child_id": links.child_id,
            "parent_id": links.parent_id,
            "parent_order": links.position,
            "tags": TagColumns(node_id=tags.folder_id, tag=tags.tag, order=tags.position),
            "acl": ACLColumns(
                is_restricted=self.folders.c.access == "listed",
                node_id=grants.folder_id,
                principal=grants.principal,
                permission=grants.permission,
                is_allowed=grants.effect == "allow",
            ),
        }

    async def add(self, *folders: Folder) -> None:
        async with self.engine.begin() as connection:
            await self.insert(connection, *folders)

    async def insert(self, connection: AsyncConnection, *folders: Folder) -> None:
        await connection.execute(
            insert(self.folders), [{"id": f.id, "access": _access_of(f)} for f in folders]
        )
        for folder in folders:
            tags = [
                {"folder_id": folder.id, "position": place, "tag": tag}
                for place, tag in enumerate(folder.tags)
            ]
            for table, rows in (
                (self.links, _link_rows(folder.id, folder.parent_ids)),
                (self.tags, tags),
                (self.grants, _grant_rows(folder)),
            ):
                if rows:
                    await connection.execute(insert(table), rows)

    async def link(self, links: Mapping[Any, Collection[Any]]) -> None:
        """Insert nodes with parents only."""
        rows = [row for child, parents in links.items() for row in _link_rows(child, parents)]
        async with self.engine.begin() as connection:
            await connection.execute(insert(self.folders), [{"id": node_id} for node_id in links])
            if rows:
                await connection.execute(insert(self.links), rows)


def _link_rows(child: object, parents: Collection[object]) -> list[dict[str, Any]]:
    # Insert the last parent first, so that the order of insertion would be wrong.
    placed = reversed(list(enumerate(parents)))
    return [{"child_id": child, "position": i, "parent_id": parent} for i, parent in placed]


def _access_of(folder: Folder) -> str | None:
    if folder.acl is None:
        return None
    return "open" if folder.acl.allow is None else "listed"


def _grant_rows(folder: Folder) -> list[dict[str, Any]]:
    acl = folder.acl or ACL()
    entries = [*((g, "allow") for g in acl.allow or ()), *((g, "deny") for g in acl.deny)]
    return [
        {
            "folder_id": folder.id,
            "principal": grant.principal,
            "permission": grant.permission,
            "effect": effect,
        }
        for grant, effect in entries
    ]


@pytest.fixture
async def app(engine: AsyncEngine, tables: Tables) -> FolderTables:
    return await _create_tables(FolderTables(engine, tables.schema))


async def _create_tables(app: FolderTables) -> FolderTables:
    async with app.engine.begin() as connection:
        await connection.run_sync(app.metadata.create_all)
    return app


@pytest.fixture
def reader(session_factory: SessionFactory, app: FolderTables) -> Reader:
    return SQLAlchemyHierarchyReader(session_factory, **app.columns())


@contextmanager
def record_statements(engine: AsyncEngine) -> Iterator[list[str]]:
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", note)


class ReaderContract(
    ParentReaderContract, TagReaderContract, ACLReaderContract, AncestryReaderContract
):
    @pytest.fixture
    def parent_reader(self, reader: Reader) -> object:
        return reader.parents

    @pytest.fixture
    def tag_reader(self, reader: Reader) -> object:
        return reader.tags

    @pytest.fixture
    def acl_reader(self, reader: Reader) -> object:
        return reader.acls

    @pytest.fixture(params=["parents", "tags", "acls"])
    def ancestry_reader(self, reader: Reader, request: pytest.FixtureRequest) -> Any:
        return getattr(reader, request.param)


class TestSQLAlchemyHierarchyReader(ReaderContract):
    @pytest.fixture(autouse=True)
    async def store_folders(self, app: FolderTables) -> None:
        await app.add(*FOLDERS)


class TestHierarchyReaderInUnitOfWork(ReaderContract):
    """Tests over rows that are not committed yet."""

    @pytest.fixture
    async def reader(self, app: FolderTables, new_uow: NewUnitOfWork) -> AsyncIterator[Reader]:
        async with new_uow() as uow:
            await app.insert(await uow.connection(), *FOLDERS)
            yield SQLAlchemyHierarchyReader(uow=uow, **app.columns())
            await uow.rollback()


class TestHierarchyReaderOfMappedClasses(ReaderContract):
    @pytest.fixture
    async def reader(self, session_factory: SessionFactory, app: FolderTables) -> Reader:
        class Model(DeclarativeBase):
            metadata = MetaData(schema=app.metadata.schema)

        class FolderModel(Model):
            __tablename__ = "folders"
            id: Mapped[str] = mapped_column(primary_key=True)
            access: Mapped[str | None]

        class Link(Model):
            __tablename__ = "folder_links"
            child_id: Mapped[str] = mapped_column(primary_key=True)
            position: Mapped[int] = mapped_column(primary_key=True)
            parent_id: Mapped[str]

        class Tag(Model):
            __tablename__ = "folder_tags"
            folder_id: Mapped[str] = mapped_column(primary_key=True)
            position: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = mapped_column("tag")

        class Entry(Model):
            __tablename__ = "folder_grants"
            folder_id: Mapped[str] = mapped_column(primary_key=True)
            principal: Mapped[str] = mapped_column(primary_key=True)
            permission: Mapped[str] = mapped_column(primary_key=True)
            effect: Mapped[str]

        await app.add(*FOLDERS)
        return SQLAlchemyHierarchyReader(
            session_factory,
            node_id=FolderModel.id,
            child_id=Link.child_id,
            parent_id=Link.parent_id,
            parent_order=Link.position,
            tags=TagColumns(node_id=Tag.folder_id, tag=Tag.name, order=Tag.position),
            acl=ACLColumns(
                is_restricted=FolderModel.access == "listed",
                node_id=Entry.folder_id,
                principal=Entry.principal,
                permission=Entry.permission,
                is_allowed=Entry.effect == "allow",
            ),
        )


class TestHierarchyReaderOfTree(AncestryReaderContract):
    """Tests of a tree with one parent column, which holds the last parent of each folder."""

    @pytest.fixture
    async def ancestry_reader(
        self, session_factory: SessionFactory, engine: AsyncEngine, tables: Tables
    ) -> IAsyncAncestryReader[str]:
        class Model(DeclarativeBase):
            metadata = MetaData(schema=tables.schema)

        class Category(Model):
            __tablename__ = "categories"
            id: Mapped[str] = mapped_column(primary_key=True)
            parent_id: Mapped[str | None]

        async with engine.begin() as connection:
            await connection.run_sync(Model.metadata.create_all)
        async with session_factory.begin() as session:
            session.add_all(
                Category(id=f.id, parent_id=f.parent_ids[-1] if f.parent_ids else None)
                for f in FOLDERS
            )
        reader: Reader = SQLAlchemyHierarchyReader(
            session_factory, node_id=Category.id, parent_id=Category.parent_id
        )
        return reader.parents

    async def test_ancestry_reader_returns_the_links_of_all_ancestors_in_one_call(
        self, ancestry_reader: Any
    ) -> None:
        found = await ancestry_reader.get_ancestry(("grandchild", "missing"))

        assert found == {
            "grandchild": ("child",),
            "child": ("left",),
            "left": ("root",),
            "root": (),
        }

    async def test_ancestry_reader_stops_at_max_depth(self, ancestry_reader: Any) -> None:
        found = await ancestry_reader.get_ancestry(("grandchild",), max_depth=1)

        assert found == {"grandchild": ("child",), "child": ("left",)}


CHAIN = {i: (i + 1,) if i < 3_000 else () for i in range(3_001)}


def build_ladder(rungs: int) -> dict[int, tuple[int, ...]]:
    """Build two nodes for each rung, under both nodes of the rung above: 2**rungs paths."""
    links = {
        rung * 2 + side: (rung * 2 + 2, rung * 2 + 3) for rung in range(rungs) for side in (0, 1)
    }
    return {**links, rungs * 2: (), rungs * 2 + 1: ()}


@pytest.fixture
async def numbered_app(engine: AsyncEngine, tables: Tables) -> FolderTables:
    return await _create_tables(FolderTables(engine, tables.schema, BigInteger()))


@pytest.fixture
def numbers(
    session_factory: SessionFactory, numbered_app: FolderTables
) -> SQLAlchemyHierarchyReader[int]:
    return SQLAlchemyHierarchyReader(session_factory, **numbered_app.columns())


@pytest.mark.parametrize("links", [CHAIN, build_ladder(1_000)], ids=["chain", "build_ladder"])
async def test_hierarchy_reader_reads_an_ancestry_in_one_round_trip(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables, links: dict[int, Any]
) -> None:
    await numbered_app.link(links)

    with record_statements(numbered_app.engine) as sent:
        whole = await numbers.parents.get_ancestry((0, 1))
        cut = await numbers.parents.get_ancestry((0,), max_depth=900)

    assert whole == links
    assert list(cut)[-1] in (900, 1_801)
    assert len(sent) == 2


async def test_service_reads_a_deep_hierarchy_in_one_round_trip_and_its_values_in_another(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables
) -> None:
    await numbered_app.link(CHAIN)
    async with numbered_app.engine.begin() as connection:
        tag = {"folder_id": 3_000, "position": 0, "tag": "top"}
        await connection.execute(insert(numbered_app.tags), [tag])

    with record_statements(numbered_app.engine) as sent:
        assert await AsyncCycleDetectionService(numbers.parents).would_create_cycle(3_000, 0)
        assert len(sent) == 1
        sent.clear()
        assert await AsyncTagInheritanceService(numbers.tags).effective_tags(0) == ("top",)
        assert len(sent) == 2


@pytest.mark.parametrize("kind", ["parents", "tags", "acls"])
async def test_hierarchy_reader_reads_a_batch_of_nodes_in_one_round_trip(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables, kind: str
) -> None:
    await numbered_app.link(CHAIN)

    with record_statements(numbered_app.engine) as sent:
        found = await getattr(numbers, kind).get_many(range(5_000))
        nothing = await getattr(numbers, kind).get_many(())

    assert set(found) == set(CHAIN)
    assert nothing == {}
    assert len(sent) == 1


async def test_hierarchy_reader_splits_more_ids_than_a_statement_can_take(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables, backend: str
) -> None:
    await numbered_app.link({1: (70_000,), 70_000: (2,), 2: ()})

    with record_statements(numbered_app.engine) as sent:
        found = await numbers.parents.get_many(range(70_001))

    assert found == {1: (70_000,), 70_000: (2,), 2: ()}
    assert len(sent) == (1 if backend == "postgres" else 3)
    assert set(await numbers.parents.get_ancestry(range(70_000), max_depth=0)) == {1, 2}
    assert set(await numbers.parents.get_ancestry(range(70_000))) == {1, 2, 70_000}


async def test_ancestry_of_a_cycle_ends_at_any_max_depth(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables
) -> None:
    await numbered_app.link({1: (2, 1), 2: (1,)})

    for max_depth in (None, 10, 10**12):
        assert await numbers.parents.get_ancestry((1,), max_depth=max_depth) == {1: (2, 1), 2: (1,)}


async def test_hierarchy_reader_ignores_links_of_missing_nodes(
    numbers: SQLAlchemyHierarchyReader[int], numbered_app: FolderTables
) -> None:
    await numbered_app.link({1: (2,), 2: (3,), 3: ()})
    async with numbered_app.engine.begin() as connection:
        await connection.execute(delete(numbered_app.folders).where(numbered_app.folders.c.id == 2))

    assert await numbers.parents.get_ancestry((1, 2)) == {1: (2,)}
    assert await numbers.parents.get_many((1, 2)) == {1: (2,)}


class BinaryUuid(TypeDecorator[uuid.UUID]):
    """Column type that stores UUIDs as 16 bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | None, dialect: Any) -> bytes | None:
        return None if value is None else value.bytes

    def process_result_value(self, value: bytes | None, dialect: Any) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(bytes=value)


@pytest.mark.parametrize(
    ("id_type", "top", "below", "missing"),
    [
        (Uuid(), uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)),
        (BinaryUuid(), uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)),
        (String(4), "top ", "low", "lowest"),
        (Enum("top", "low", "missing", name="places"), "top", "low", "missing"),
    ],
    ids=["uuid", "decorated", "short text", "enum"],
)
async def test_hierarchy_reader_returns_ids_of_any_type_unchanged(
    session_factory: SessionFactory,
    engine: AsyncEngine,
    tables: Tables,
    id_type: TypeEngine[Any],
    top: Any,
    below: Any,
    missing: Any,
) -> None:
    app = await _create_tables(FolderTables(engine, tables.schema, id_type))
    await app.link({top: (), below: (top,)})
    reader: SQLAlchemyHierarchyReader[Any] = SQLAlchemyHierarchyReader(
        session_factory, **app.columns()
    )

    assert await reader.parents.get_ancestry((below, missing)) == {below: (top,), top: ()}
    assert await reader.tags.get_many((below,)) == {below: ((), (top,))}
    assert await reader.acls.get_many((below,)) == {below: (None, (top,))}


async def test_hierarchy_services_work_over_the_tables_of_an_application(
    reader: Reader, app: FolderTables
) -> None:
    await app.add(*FOLDERS)
    cycles = AsyncCycleDetectionService(reader.parents)
    acls = AsyncACLInheritanceService(reader.acls)

    assert await cycles.would_create_cycle("root", "grandchild")
    assert await cycles.detect_existing_cycle("egg") == ("egg", "hen", "egg")
    assert await AsyncTagInheritanceService(reader.tags).effective_tags("left") == FOLDERS[0].tags
    assert await acls.is_allowed("left", ["ann"], "read")
    assert not await acls.is_allowed("child", ["ann"], "read")
    with pytest.raises(HierarchyLimitExceededError):
        await AsyncCycleDetectionService(
            reader.parents, limits=TraversalLimits(max_depth=1)
        ).would_create_cycle("elsewhere", "grandchild")


async def test_cycle_check_sees_uncommitted_changes_of_its_unit_of_work(
    reader: Reader, app: FolderTables, new_uow: NewUnitOfWork
) -> None:
    await app.link({"a": (), "b": ()})
    cycles = AsyncCycleDetectionService(reader.parents)

    async with new_uow() as uow:
        assert not await cycles.would_create_cycle("b", "a")
        link = {"child_id": "a", "position": 0, "parent_id": "b"}
        await uow.session.execute(insert(app.links).values(link))

        assert await cycles.would_create_cycle("b", "a")
        await uow.rollback()

    assert not await cycles.would_create_cycle("b", "a")


async def test_hierarchy_reader_does_not_wait_for_a_writer(
    reader: Reader, app: FolderTables, engine: AsyncEngine
) -> None:
    await app.add(*FOLDERS)

    async with engine.connect() as writer:
        await writer.execute(delete(app.folders))
        assert len(await asyncio.wait_for(reader.parents.get_ancestry(("child",)), timeout=5)) == 4
        assert await asyncio.wait_for(reader.acls.get_many(("right",)), timeout=5)
        await writer.rollback()


async def test_hierarchy_reader_can_read_from_a_select_instead_of_a_table(
    session_factory: SessionFactory, app: FolderTables
) -> None:
    await app.add(*FOLDERS)
    kept = select(app.folders).where(app.folders.c.id != "left").subquery()
    reader: Reader = SQLAlchemyHierarchyReader(
        session_factory,
        node_id=kept.c.id,
        child_id=app.links.c.child_id,
        parent_id=app.links.c.parent_id,
        parent_order=app.links.c.position,
    )

    assert await reader.parents.get_ancestry(("child", "left")) == {
        "child": ("right", "left"),
        "right": ("root",),
        "root": (),
    }


async def test_parents_and_tags_without_an_order_value_come_last(
    session_factory: SessionFactory, app: FolderTables
) -> None:
    await app.add(Folder(id="a", parent_ids=("z", "y", "x"), tags=("3", "2", "1")))
    places = {
        "parent_order": func.nullif(app.links.c.position, 0),
        "tags": TagColumns(
            node_id=app.tags.c.folder_id,
            tag=app.tags.c.tag,
            order=func.nullif(app.tags.c.position, 0),
        ),
    }
    reader: Reader = SQLAlchemyHierarchyReader(session_factory, **{**app.columns(), **places})

    assert await reader.tags.get_many(("a",)) == {"a": (("2", "1", "3"), ("y", "x", "z"))}


@pytest.mark.parametrize(
    ("access", "effects", "expected"),
    [
        (None, {}, None),
        (None, {"ann": "allow"}, None),
        (None, {"ann": "deny"}, ACL(deny=frozenset({Grant("ann", "read")}))),
        ("open", {}, ACL.unrestricted()),
        ("open", {"bob": "allow", "ann": "deny"}, ACL(deny=frozenset({Grant("ann", "read")}))),
        ("listed", {}, ACL.nobody()),
        ("listed", {"ann": "Allow "}, ACL(frozenset(), frozenset({Grant("ann", "read")}))),
        ("listed", {"ann": None}, ACL(frozenset(), frozenset({Grant("ann", "read")}))),
    ],
)
async def test_acl_entry_with_an_unknown_effect_denies(
    reader: Reader,
    app: FolderTables,
    access: str | None,
    effects: dict[str, str | None],
    expected: ACL | None,
) -> None:
    entries = [
        {"folder_id": "a", "principal": principal, "permission": "read", "effect": effect}
        for principal, effect in effects.items()
    ]
    async with app.engine.begin() as connection:
        await connection.execute(insert(app.folders), [{"id": "a", "access": access}])
        for entry in entries:
            await connection.execute(insert(app.grants), [entry])

    assert await reader.acls.get_many(("a",)) == {"a": (expected, ())}


async def test_acl_entries_allow_if_there_is_no_effect_column(
    session_factory: SessionFactory, app: FolderTables
) -> None:
    await app.add(Folder(id="a", acl=ACL.from_grants(Grant("ann", "read"), Grant("bob", "read"))))
    entries = app.grants.c
    reader: Reader = SQLAlchemyHierarchyReader(
        session_factory,
        node_id=app.folders.c.id,
        parent_id=app.links.c.parent_id,
        child_id=app.links.c.child_id,
        acl=ACLColumns(
            is_restricted=app.folders.c.access.is_not(None),
            node_id=entries.folder_id,
            principal=entries.principal,
            permission=entries.permission,
        ),
    )

    acl = ACL.from_grants(Grant("ann", "read"), Grant("bob", "read"))
    assert await reader.acls.get_many(("a",)) == {"a": (acl, ())}


async def test_error_of_a_hierarchy_reader_names_the_argument_of_missing_tag_or_acl_columns(
    session_factory: SessionFactory, app: FolderTables
) -> None:
    reader: Reader = SQLAlchemyHierarchyReader(
        session_factory,
        node_id=app.folders.c.id,
        child_id=app.links.c.child_id,
        parent_id=app.links.c.parent_id,
    )

    with pytest.raises(InvalidOperationError, match="cannot read tags: .* pass tags=TagColumns"):
        _ = reader.tags
    with pytest.raises(InvalidOperationError, match="access lists: .* pass acl=ACLColumns"):
        _ = reader.acls


async def test_hierarchy_reader_rejects_link_columns_of_two_tables(app: FolderTables) -> None:
    with pytest.raises(ConfigError, match="of the links must be columns of one table, but"):
        SQLAlchemyHierarchyReader(node_id=app.folders.c.id, parent_id=app.links.c.parent_id)


async def test_failed_hierarchy_statement_raises_a_persistence_error(
    session_factory: SessionFactory, engine: AsyncEngine, tables: Tables
) -> None:
    missing_tables = FolderTables(engine, tables.schema)
    reader: Reader = SQLAlchemyHierarchyReader(session_factory, **missing_tables.columns())

    with pytest.raises(PersistenceError, match="cannot read parents: "):
        await reader.parents.get_many(("a",))


Changes = Callable[[FolderTables], dict[str, Any]]


def drop_order(app: FolderTables) -> dict[str, Any]:
    """Read parents and tags in the order of the database."""
    tags = TagColumns(node_id=app.tags.c.folder_id, tag=app.tags.c.tag)
    return {"parent_order": None, "tags": tags}


def reverse_order(app: FolderTables) -> dict[str, Any]:
    return {"parent_order": -app.links.c.position}


def take_nodes_from_links(app: FolderTables) -> dict[str, Any]:
    """Read the nodes from the table of links."""
    return {"node_id": app.links.c.child_id, "acl": None}


def take_lists_from_entries(app: FolderTables) -> dict[str, Any]:
    """Read the restriction from the entries instead of the flag column."""
    entries = app.grants.c
    acl = ACLColumns(
        is_restricted=exists().where(entries.folder_id == app.folders.c.id),
        node_id=entries.folder_id,
        principal=entries.principal,
        permission=entries.permission,
        is_allowed=entries.effect == "allow",
    )
    return {"acl": acl}


def restrict_every_list(app: FolderTables) -> dict[str, Any]:
    """Treat every access list without entries as one that admits no principal."""
    acl: ACLColumns = app.columns()["acl"]
    return {"acl": replace(acl, is_restricted=app.folders.c.access.is_not(None))}


class RecordForEveryIdReader(IAsyncBatchReader[str, R]):
    """Reader that returns a record for every id, even for missing nodes."""

    def __init__(self, reader: IAsyncBatchReader[str, R], empty: R) -> None:
        self._reader = reader
        self._empty = empty

    async def get_many(self, node_ids: Collection[str]) -> Mapping[str, R]:
        return {**dict.fromkeys(node_ids, self._empty), **await self._reader.get_many(node_ids)}


class ExtraLevelReader(IAsyncAncestryReader[str]):
    def __init__(self, reader: IAsyncAncestryReader[str]) -> None:
        self._reader = reader

    async def get_ancestry(
        self, node_ids: Collection[str], *, max_depth: int | None = None
    ) -> Mapping[str, tuple[str, ...]]:
        return await self._reader.get_ancestry(
            node_ids, max_depth=None if max_depth is None else max_depth + 1
        )


PARENTS, TAGS = ParentReaderContract(), TagReaderContract()
LISTS, ANCESTRIES = ACLReaderContract(), AncestryReaderContract()


@pytest.mark.parametrize(
    ("naive", "kind", "contract_test"),
    [
        (drop_order, "parents", PARENTS.test_parent_reader_returns_parents_in_stored_order),
        (drop_order, "tags", TAGS.test_tag_reader_keeps_the_order_and_spelling_of_tags),
        (reverse_order, "parents", PARENTS.test_parent_reader_returns_parents_in_stored_order),
        (
            take_nodes_from_links,
            "parents",
            PARENTS.test_parent_reader_omits_missing_nodes_and_returns_no_parents_for_a_root,
        ),
        (
            take_nodes_from_links,
            "parents",
            ANCESTRIES.test_ancestry_reader_returns_the_links_of_all_ancestors_in_one_call,
        ),
        (
            take_lists_from_entries,
            "acls",
            LISTS.test_acl_reader_distinguishes_no_list_from_an_empty_and_an_unrestricted_list,
        ),
        (
            restrict_every_list,
            "acls",
            LISTS.test_acl_reader_distinguishes_no_list_from_an_empty_and_an_unrestricted_list,
        ),
    ],
)
async def test_hierarchy_reader_contract_catches_each_wrong_choice_of_columns(
    session_factory: SessionFactory,
    app: FolderTables,
    reader: Reader,
    naive: Changes,
    kind: str,
    contract_test: Callable[[Any], Awaitable[None]],
) -> None:
    await app.add(*FOLDERS)
    changed: Reader = SQLAlchemyHierarchyReader(session_factory, **{**app.columns(), **naive(app)})

    await contract_test(getattr(reader, kind))
    with pytest.raises(AssertionError):
        await contract_test(getattr(changed, kind))


async def test_hierarchy_reader_contract_catches_each_wrong_sql_reader(
    app: FolderTables, reader: Reader
) -> None:
    await app.add(*FOLDERS)

    for contract_test, sound, naive in (
        (
            PARENTS.test_parent_reader_omits_missing_nodes_and_returns_no_parents_for_a_root,
            reader.parents,
            RecordForEveryIdReader(reader.parents, ()),
        ),
        (
            TAGS.test_tag_reader_omits_missing_nodes_but_not_nodes_without_tags,
            reader.tags,
            RecordForEveryIdReader(reader.tags, ((), ())),
        ),
        (
            LISTS.test_acl_reader_omits_missing_nodes_but_not_nodes_without_a_list,
            reader.acls,
            RecordForEveryIdReader(reader.acls, (None, ())),
        ),
        (
            ANCESTRIES.test_ancestry_reader_stops_at_max_depth,
            reader.parents,
            ExtraLevelReader(reader.parents),
        ),
    ):
        check: Callable[[Any], Awaitable[None]] = contract_test
        await check(sound)
        with pytest.raises(AssertionError):
            await check(naive)
