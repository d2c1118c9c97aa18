"""Server processes without root rights, in folders of their own, that end with the test run."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOM_PREFIX = "cqrs-ddd-test-"
STOP_SECONDS = 10.0
DROP_PRIVILEGES = (sys.executable, "-I", "-S", str(Path(__file__).with_name("drop_privileges.py")))
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
OURSELVES = "-"
WORKER = int(os.environ["PYTEST_XDIST_WORKER"][2:]) if "PYTEST_XDIST_WORKER" in os.environ else None
"""Number of this process in a run of pytest-xdist, which names its workers gw0, gw1 and so on."""


class ServerUnavailableError(Exception):
    """Error if no server could be reached or started; the text lists the attempts."""


def run(account: str, command: Sequence[str | Path], room: Path, *, timeout: float) -> None:
    """Run `command` to its end as `account`."""
    done = subprocess.run(
        [*DROP_PRIVILEGES, account, *command],
        cwd=room,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise ServerUnavailableError(f"{command[0]} failed: {done.stderr[-2000:]}")


@contextlib.contextmanager
def serve(
    account: str,
    command: Sequence[str | Path],
    room: Path,
    *,
    settings: str,
    stop_signal: signal.Signals,
    language: str = "C",
) -> Iterator[subprocess.Popen[str]]:
    """Run `command` as `account` during the block, with `settings` as its standard input.

    The messages are in `language`, if the program has translations.
    """
    with (room / "log").open("w") as log:
        server = subprocess.Popen(
            [*DROP_PRIVILEGES, account, *command],
            cwd=room,
            env={**ENVIRONMENT, "LC_ALL": "C.UTF-8", "LANGUAGE": language},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with server:
        try:
            if server.stdin:
                server.stdin.write(settings)
                server.stdin.close()
            yield server
        finally:
            server.send_signal(stop_signal)
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


@contextlib.contextmanager
def temporary_room() -> Iterator[Path]:
    """Yield an empty folder, after removing the folders of test runs that were killed."""
    for old in Path(tempfile.gettempdir()).glob(f"{ROOM_PREFIX}*"):
        if is_abandoned(old):
            shutil.rmtree(old, ignore_errors=True)
    room = Path(tempfile.mkdtemp(prefix=f"{ROOM_PREFIX}{os.getpid()}-"))
    room.chmod(0o711)
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def unprivileged_account() -> str:
    """Return an account for servers that reject root; `OURSELVES` if this process is not root."""
    if os.geteuid() != 0:
        return OURSELVES
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return f"{entry.pw_uid}:{entry.pw_gid}"
    raise ServerUnavailableError("running as root, and there is no account postgres or nobody")


def give(path: Path, account: str) -> None:
    if account != OURSELVES:
        uid, gid = map(int, account.split(":"))
        os.chown(path, uid, gid, follow_symlinks=False)


def is_open_to_all(program: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (program, *program.parents))


def copy_install(program: Path, target: Path, account: str) -> Path:
    """Copy the install of a wheel and the `.libs` folder next to it, where its programs look."""
    install = program.parent.parent
    package = install.parent
    copied = target / package.name / install.name
    shutil.copytree(install, copied, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for place in (target, *target.rglob("*")):
        give(place, account)
    return copied / "bin" / program.name


def free_port() -> int:
    """Return a port for a server.

    No system assigns one of these ports to a client, not even while the server is down, and no two
    workers choose from the same ones.
    """
    first = 20_000 + 1_000 * ((WORKER or 0) % 12)
    return next(port for port in random.sample(range(first, first + 1_000), 100) if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_abandoned(room: Path) -> bool:
    pid = room.name.removeprefix(ROOM_PREFIX).partition("-")[0]
    try:
        if not pid.isdecimal() or room.stat().st_uid != os.getuid():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
