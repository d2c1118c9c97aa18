"""Creation, checks and removal of the tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from cqrs_ddd_core import ConfigError, PersistenceError

from ..engine import driver, driver_errors, engines
from .advanced_tables import AdvancedTables, is_advanced_installed
from .column_types import ExactDecimal
from .tables import TABLES, Tables

__all__ = [
    "build_advanced_statements",
    "build_core_statements",
    "check",
    "create_schema",
    "install",
    "install_advanced",
    "install_core",
    "remove",
    "remove_advanced",
]

Ordering = Literal["registered", "serialized"]

COMPONENT = "persistence"
"""Key of the core tables in the table of versions; the advanced tables have another key."""

# Bigint keys of advisory locks: 23 bits for the set of tables, 40 bits for a position.
_POSITION_BITS = 40


async def create_schema(
    engine: AsyncEngine,
    tables: Tables = TABLES,
    *,
    ordering: Ordering | None = None,
    metadata: Collection[sa.MetaData] = (),
) -> None:
    """Create the missing tables in one transaction; several processes may do so concurrently.

    Args:
        engine: engine on PostgreSQL or SQLite.
        tables: tables of the toolkit.
        ordering: how PostgreSQL prevents readers from skipping events of a slow transaction.
            ``registered`` lets writers run in parallel; ``serialized`` makes each writer wait for
            the previous one. None keeps the present ordering, which is ``registered`` at first.
        metadata: tables of the application, which are created as well.

    Raises:
        PersistenceError: the tables have another version.
        ConfigError: the toolkit does not support the engine.
    """
    engines.ensure_usable(engine)
    with driver_errors.translate_errors(PersistenceError, "create the schema"):
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: install(sync, tables, ordering))
            for each in metadata:
                await connection.run_sync(each.create_all)


async def check(
    engine: AsyncEngine, tables: Tables = TABLES, *, metadata: Collection[sa.MetaData] = ()
) -> None:
    """Check that all tables and columns exist, in the version of this library.

    Args:
        engine: engine on PostgreSQL or SQLite.
        tables: tables of the toolkit.
        metadata: tables of the application, which are checked as well.

    Raises:
        ConfigError: tables, columns, the trigger or the function are missing or have another
            version, an ``ExactDecimal`` has another scale, or readers would miss events because of
            the sequence of the positions or the default isolation.
    """
    engines.ensure_usable(engine)
    with driver_errors.translate_errors(PersistenceError, "check the schema"):
        async with engine.connect() as connection:
            findings = await connection.run_sync(lambda sync: _find_missing(sync, tables, metadata))
            problems = [] if findings else await connection.run_sync(_find_problems, tables)
    if findings:
        raise ConfigError(
            f"the database lacks {'; '.join(findings)}; run create_schema(engine), or your "
            "migrations; a backend creates its tables with create_schema=True"
        )
    if problems:
        raise ConfigError(f"readers of all streams would miss events: {'; '.join(problems)}")


def install(
    connection: sa.Connection, tables: Tables = TABLES, ordering: Ordering | None = None
) -> None:
    """Create the missing tables in the transaction of the connection.

    Args:
        connection: connection on PostgreSQL or SQLite.
        tables: tables of the toolkit.
        ordering: rule for readers on PostgreSQL, see ``create_schema``.

    Raises:
        PersistenceError: the tables have another version.
    """
    install_core(connection, tables, ordering)
    install_advanced(connection, tables)


def install_core(
    connection: sa.Connection, tables: Tables = TABLES, ordering: Ordering | None = None
) -> None:
    """Create the tables of event store, outbox, inbox and heartbeats; for migrations.

    Args:
        connection: connection of the migration.
        tables: tables of the toolkit.
        ordering: rule for readers on PostgreSQL, see ``create_schema``.

    Raises:
        PersistenceError: the tables have another version.
    """
    _begin(connection, tables)
    tables.metadata.create_all(connection, tables=tables.core)
    _note_version(connection, tables, COMPONENT, tables.VERSION)
    # Only if necessary: the replacement of a trigger waits for all appending transactions and
    # blocks new transactions.
    if driver.is_postgres(connection) and (
        ordering is not None or not _has_trigger(connection, tables)
    ):
        sequence = _find_sequence(connection, tables)
        for statement in _build_position_statements(
            connection.dialect, tables, ordering or "registered", sequence
        ):
            connection.exec_driver_sql(statement)


def install_advanced(connection: sa.Connection, tables: Tables = TABLES) -> None:
    """Create the tables of the extra ``advanced``, if it is installed; for migrations."""
    if is_advanced_installed():
        _begin(connection, tables)
        tables.metadata.create_all(connection, tables=tables.advanced.all)
        _note_version(connection, tables, AdvancedTables.COMPONENT, AdvancedTables.VERSION)


def build_core_statements(
    dialect: sa.Dialect, tables: Tables = TABLES, ordering: Ordering | None = None
) -> list[sa.Executable | str]:
    """Return the statements of ``install_core`` for a database that lacks the tables.

    A migration writes them into a script without a connection, as ``alembic upgrade --sql`` does.

    Args:
        dialect: dialect of the database.
        tables: tables of the toolkit.
        ordering: rule for readers on PostgreSQL, see ``create_schema``.
    """
    statements = list[sa.Executable | str]()
    is_postgres = dialect.name == "postgresql"
    if is_postgres and tables.schema is not None:
        statements.append(sa.schema.CreateSchema(tables.schema, if_not_exists=True))
    statements += _build_tables(tables.core, tables, COMPONENT, tables.VERSION)
    if is_postgres:
        quote = dialect.identifier_preparer.quote
        # The name that PostgreSQL gives to the sequence of a BIGSERIAL column, in 63 bytes.
        name = quote(f"{tables.events.name[:50]}_position_seq")
        sequence = name if tables.schema is None else f"{quote(tables.schema)}.{name}"
        statements += _build_position_statements(
            dialect, tables, ordering or "registered", sequence
        )
    return statements


def build_advanced_statements(tables: Tables = TABLES) -> list[sa.Executable | str]:
    """Return the statements of ``install_advanced``, for a script without a connection."""
    if not is_advanced_installed():
        return []
    advanced = tables.advanced
    return _build_tables(advanced.all, tables, AdvancedTables.COMPONENT, AdvancedTables.VERSION)


def _build_tables(
    created: Iterable[sa.Table], tables: Tables, component: str, version: int
) -> list[sa.Executable | str]:
    statements = list[sa.Executable | str]()
    for table in created:
        statements.append(sa.schema.CreateTable(table))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += map(sa.schema.CreateIndex, indexes)
    row = {"component": component, "version": version}
    return [*statements, sa.insert(tables.versions).values(row)]


def begin_changes(connection: sa.Connection, tables: Tables) -> None:
    """Block other changes of the schema until the transaction ends."""
    if driver.is_postgres(connection):
        # IF NOT EXISTS checks first and creates afterwards: two transactions would collide.
        lock = _hash_namespace(tables, "schema") << _POSITION_BITS
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
    elif not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: sa.Connection, tables: Tables) -> None:
    begin_changes(connection, tables)
    if driver.is_postgres(connection) and tables.schema is not None:
        name = connection.dialect.identifier_preparer.quote(tables.schema)
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {name}")


def ensure_online(is_offline: bool) -> None:
    """Raise ``ConfigError`` for a downgrade without a connection."""
    if is_offline:
        raise ConfigError(
            "a downgrade without a connection cannot know the tables of collections, which "
            "projections create; run alembic downgrade without --sql"
        )


def remove(connection: sa.Connection, tables: Tables = TABLES) -> None:
    """Drop all tables of the toolkit with their rows; for the downgrade of a migration."""
    _drop_views(connection, tables)
    if driver.is_postgres(connection):
        names = _Names(connection.dialect, tables)
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {names.safe_position}()")
        tables.metadata.drop_all(connection)
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {names.register}()")
    else:
        tables.metadata.drop_all(connection)


def remove_advanced(connection: sa.Connection, tables: Tables = TABLES) -> None:
    """Drop the tables of the extra ``advanced``, and their row in the table of versions."""
    _drop_views(connection, tables)
    tables.metadata.drop_all(connection, tables=tables.advanced.all)
    versions = tables.versions
    connection.execute(sa.delete(versions).where(versions.c.component == AdvancedTables.COMPONENT))


def _drop_views(connection: sa.Connection, tables: Tables) -> None:
    """Drop the tables of document collections."""
    views, schema = tables.advanced.views, tables.schema
    if sa.inspect(connection).has_table(views.name, schema):
        for collection in connection.scalars(sa.select(views.c.collection)).all():
            name = f"{tables.advanced.view_prefix}{collection}"
            sa.Table(name, sa.MetaData(schema=schema)).drop(connection, checkfirst=True)


def _note_version(connection: sa.Connection, tables: Tables, component: str, version: int) -> None:
    row = {"component": component, "version": version}
    connection.execute(
        driver.upsert_statement(connection, tables.versions).values(row).on_conflict_do_nothing()
    )
    found = _read_version(connection, tables, component)
    if found != version:
        raise PersistenceError(
            f"the tables {tables.prefix}* ({component}) have version {found}, this library "
            f"requires {version}; run its migrations"
        )


def _read_version(connection: sa.Connection, tables: Tables, component: str) -> int | None:
    versions = tables.versions
    return connection.scalar(sa.select(versions.c.version).where(versions.c.component == component))


def _has_trigger(connection: sa.Connection, tables: Tables) -> bool:
    names = _Names(connection.dialect, tables)
    found = connection.scalar(
        sa.text(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(:events) "
            "AND tgname = :name AND tgenabled <> 'D'"
        ),
        {"events": names.events, "name": f"{tables.prefix}register_append"},
    )
    return bool(found)


def _find_missing(
    connection: sa.Connection, tables: Tables, metadata: Iterable[sa.MetaData]
) -> list[str]:
    inspector = sa.inspect(connection)
    expected = [
        table
        for each in (tables.metadata, *metadata)
        for table in sorted(each.tables.values(), key=lambda table: table.name)
    ]
    missing = [each.name for each in expected if not inspector.has_table(each.name, each.schema)]
    if missing:
        return [f"the tables {', '.join(missing)}"]
    needed = {COMPONENT: tables.VERSION}
    if is_advanced_installed():
        needed[AdvancedTables.COMPONENT] = AdvancedTables.VERSION
    for component, version in needed.items():
        found = _read_version(connection, tables, component)
        if found != version:
            return [
                f"version {version} of the tables {tables.prefix}* ({component}, found {found})"
            ]
    findings = []
    for table in expected:
        columns = {
            column["name"]: column["type"]
            for column in inspector.get_columns(table.name, table.schema)
        }
        if absent := [column.name for column in table.columns if column.name not in columns]:
            findings.append(f"in {table.name} the columns {', '.join(absent)}")
        findings += _find_other_scales(table, columns)
    if driver.is_postgres(connection) and not _has_trigger(connection, tables):
        findings.append(f"the trigger {tables.prefix}register_append, or it is disabled")
    if driver.is_postgres(connection) and not _has_function(connection, tables):
        findings.append(f"the function {tables.prefix}safe_position")
    return findings


def _has_function(connection: sa.Connection, tables: Tables) -> bool:
    name = f"{_Names(connection.dialect, tables).safe_position}()"
    found = connection.scalar(sa.text("SELECT to_regprocedure(:name)::text"), {"name": name})
    return found is not None


def _find_sequence(connection: sa.Connection, tables: Tables) -> str | None:
    """Return the name of the sequence of the positions, with its schema."""
    sequence: str | None = connection.scalar(
        sa.text("SELECT pg_get_serial_sequence(:events, 'position')"),
        {"events": _Names(connection.dialect, tables).events},
    )
    return sequence


def _find_problems(connection: sa.Connection, tables: Tables) -> list[str]:
    """Find settings of PostgreSQL with which readers of all streams miss events or fail."""
    if not driver.is_postgres(connection):
        return []
    problems = []
    # The value with which a session starts, since the engine may set another one.
    isolation = connection.scalar(
        sa.text("SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_isolation'")
    )
    if isolation not in ("read committed", "read uncommitted"):
        problems.append(
            f"default_transaction_isolation is {isolation}, in which they cannot be read; run "
            "ALTER DATABASE ... SET default_transaction_isolation = 'read committed'"
        )
    sequence = _find_sequence(connection, tables)
    if sequence is None:
        return [*problems, f"no sequence belongs to {tables.events.name}.position; restore it"]
    cache = connection.scalar(
        sa.text("SELECT seqcache FROM pg_sequence WHERE seqrelid = to_regclass(:name)"),
        {"name": sequence},
    )
    if cache != 1:
        problems.append(
            f"sequence {sequence} assigns {cache} positions at once to each session, not in the "
            f"order of the appends; run ALTER SEQUENCE {sequence} CACHE 1"
        )
    highest = connection.scalar(sa.select(sa.func.max(tables.events.c.position))) or 0
    last = connection.exec_driver_sql(f"SELECT last_value FROM {sequence}").scalar_one()
    if highest > last:
        problems.append(
            f"the events go up to position {highest}, beyond the last value {last} of sequence "
            f"{sequence}, so they were copied with their positions; run SELECT setval('{sequence}',"
            f" {highest})"
        )
    return problems


def _find_other_scales(
    table: sa.Table, found: Mapping[str, sa.types.TypeEngine[Any]]
) -> Iterable[str]:
    """Find decimals that would be read or rounded by another scale than the stored one."""
    for column in table.columns:
        declared, stored = column.type, found.get(column.name)
        if (
            isinstance(declared, ExactDecimal)
            and isinstance(stored, (ExactDecimal, sa.Numeric))
            and stored.scale not in (None, declared.scale)
        ):
            yield (
                f"in {table.name} the scale {declared.scale} of {column.name} (found "
                f"{stored.scale})"
            )


class _Names:
    """Quoted names of the event table and its functions."""

    def __init__(self, dialect: sa.Dialect, tables: Tables) -> None:
        quote = dialect.identifier_preparer.quote
        prefix = f"{quote(tables.schema)}." if tables.schema is not None else ""
        self.events = dialect.identifier_preparer.format_table(tables.events)
        self.register = prefix + quote(f"{tables.prefix}register_append")
        self.safe_position = prefix + quote(f"{tables.prefix}safe_position")
        self.trigger = quote(f"{tables.prefix}register_append")


def _build_position_statements(
    dialect: sa.Dialect, tables: Tables, ordering: Ordering, sequence: str | None
) -> tuple[str, ...]:
    """Build functions and a trigger that let readers stop below positions still uncommitted.

    A sequence assigns positions before the commit. Each statement that inserts events therefore
    first takes a shared lock with the last assigned position in its key, and a reader stops below
    the lowest key that is still locked. A transaction without such a lock does not delay readers,
    and neither does a position that was rolled back.
    """
    names = _Names(dialect, tables)
    namespace = hash_sequence(sequence)
    # The setting makes a transaction register once; the rollback of a savepoint undoes the setting
    # together with the lock.
    setting = f"cqrs_ddd.registered_{namespace}"
    if ordering == "serialized":
        register = f"PERFORM pg_advisory_xact_lock({namespace << _POSITION_BITS});"
        # Each transaction commits before the next transaction gets a position.
        safe_position = f"last := {2**63 - 1};"
    else:
        # last_value is 1 for an unused sequence too, so is_called decides.
        register = f"""
            IF coalesce(current_setting('{setting}', true), '') = '' THEN
                PERFORM pg_advisory_xact_lock_shared(
                    {namespace << _POSITION_BITS}
                    | CASE WHEN is_called THEN last_value ELSE last_value - 1 END)
                FROM {sequence};
                PERFORM set_config('{setting}', 'yes', true);
            END IF;"""
        # The order matters: a position assigned after the first query lies above `last`; the
        # transaction of an earlier position has ended, or its lock is visible to the second query.
        safe_position = f"""
            SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END
            INTO last FROM {sequence};
            SELECT min(((classid::bigint & {2 ** (_POSITION_BITS - 32) - 1}) << 32) | objid::bigint)
            INTO registered FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1
            AND classid::bigint >> {_POSITION_BITS - 32} = {namespace}
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());"""
    quote = f"$body{namespace}$"  # No name of a sequence contains its own hash.
    return (
        f"""
        CREATE OR REPLACE FUNCTION {names.register}() RETURNS trigger LANGUAGE plpgsql AS {quote}
        BEGIN
            {register}
            RETURN NULL;
        END {quote}""",
        f"""
        CREATE OR REPLACE FUNCTION {names.safe_position}() RETURNS bigint
        LANGUAGE plpgsql AS {quote}
        DECLARE
            last bigint;
            registered bigint;
        BEGIN
            IF pg_is_in_recovery() THEN
                RAISE EXCEPTION 'read events of all streams on the primary: a standby does not '
                    'have the locks of appending transactions' USING ERRCODE = '25000';
            END IF;
            IF current_setting('transaction_isolation') NOT LIKE 'read%committed' THEN
                RAISE EXCEPTION 'read events of all streams in READ COMMITTED, not in %',
                    upper(current_setting('transaction_isolation')) USING ERRCODE = '25000';
            END IF;
            {safe_position}
            RETURN least(last, registered);
        END {quote}""",
        f"""
        CREATE OR REPLACE TRIGGER {names.trigger} BEFORE INSERT ON {names.events}
        FOR EACH STATEMENT EXECUTE FUNCTION {names.register}()""",
    )


def lock_key(tables: Tables, purpose: str, name: str) -> int:
    """Return the key of an advisory lock, for ``scope_lock``.

    Names that share a key only wait for each other.
    """
    bits = int.from_bytes(sha256(name.encode()).digest()[: _POSITION_BITS // 8], "big")
    return _hash_namespace(tables, purpose) << _POSITION_BITS | bits


def scope_lock(key: str, table: str) -> str:
    """Return the SQL for a key that belongs to the table found by the search path.

    Otherwise the tables of two schemas that are found by the search path would share locks.

    Args:
        key: SQL for the key.
        table: SQL for the name of the table, as a text.
    """
    return f"{key} # CAST(CAST(to_regclass({table}) AS oid) AS bigint)"


def _hash_namespace(tables: Tables, purpose: str) -> int:
    """Return 23 bits that are the same in every process, for locks on these tables."""
    return _hash(f"{tables.schema or ''}.{tables.prefix}{purpose}")


def hash_sequence(sequence: str | None) -> int:
    """Return 23 bits for the locks of the positions that the sequence assigns.

    The name of the sequence contains its schema: the tables of two schemas that are found by the
    search path must not share locks, or a slow writer of one would hide the events of the other.
    """
    return _hash(f"{sequence}.positions")


def _hash(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:3], "big") >> 1
