"""Load on the order service and on the same service written by hand: ``make bench-service``.

Both run in one process of uvicorn on PostgreSQL with fsync, with a pool of 20 connections. The
client keeps 16 or 64 connections open and sends the next request when it has the response. Rounds
alternate between the services. A command places an order with one line on one of 2,000 days.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import count
from urllib.parse import urlsplit

from order_system.composition import create_system
from order_system.settings import Settings

from tests.processes import free_port

from .databases import Databases

CONNECTIONS = (16, 64)
ROUNDS, SECONDS = 5, 3.0
DAYS = 2_000
SERVICES = {
    "toolkit": "order_service.service:from_environment",
    "by hand": "tests.benchmarks.hand_written_service:create_app",
}

_numbers = count(1)


@dataclass(frozen=True)
class Request:
    """Request as sent, and the status of the expected response."""

    content: bytes
    status: bytes


def make_command() -> Request:
    """Return a POST that places a new order."""
    number = next(_numbers)
    placed_at = datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(days=random.randrange(DAYS))
    body = json.dumps(
        {
            "customer_id": f"C-{number % 1_000}",
            "country": "Sweden",
            "placed_at": placed_at.isoformat(),
            "line": {
                "id": "1",
                "product_id": "P-7",
                "product": "Tea",
                "quantity": 2,
                "unit_price": "3.50",
            },
        }
    )
    head = f"POST /orders/L-{number}/lines HTTP/1.1\r\nIdempotency-Key: key-{number}\r\n"
    return _make_request(head, body.encode(), b"201")


def make_read() -> Request:
    """Return a GET of the revenue of one day."""
    day = (datetime(2020, 1, 1) + timedelta(days=random.randrange(DAYS))).date()
    return _make_request(f"GET /revenue/{day} HTTP/1.1\r\n", b"", b"200")


def make_list() -> Request:
    """Return a GET of the first page of the order list."""
    return _make_request("GET /orders?limit=20 HTTP/1.1\r\n", b"", b"200")


PHASES: dict[str, Callable[[], Request]] = {
    "POST a line": make_command,
    "GET a day": make_read,
    "GET the list": make_list,
}


def _make_request(head: str, body: bytes, status: bytes) -> Request:
    fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return Request(f"{head}{fields}\r\n\r\n".encode() + body, status)


async def load(port: int, connections: int, seconds: float, make: Callable[[], Request]) -> float:
    """Return the completed requests per second; raise ``SystemExit`` for another status."""
    deadline = time.perf_counter() + seconds

    async def run() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        done = 0
        try:
            while time.perf_counter() < deadline:
                request = make()
                writer.write(request.content)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
                body = await reader.readexactly(length)
                if head.split(b" ", 2)[1] != request.status:
                    raise SystemExit(f"unexpected response: {head.decode()}{body.decode()}")
                done += 1
        finally:
            writer.close()
        return done

    began = time.perf_counter()
    done = await asyncio.gather(*(run() for _ in range(connections)))
    return sum(done) / (time.perf_counter() - began)


@contextmanager
def serve(factory: str, database_url: str) -> Iterator[int]:
    """Run a service in a process, and yield its port."""
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": database_url, "SERVICES": "false"}
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)
    try:
        _wait_until_ready(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/revenue/2020-01-01"):
                return
        except urllib.error.URLError:
            if process.poll() is not None:
                raise SystemExit("the service has ended") from None
            time.sleep(0.1)
    raise SystemExit("the service does not answer")


async def catch_up(database_url: str) -> None:
    """Fill the order list of the toolkit, which a worker updates."""
    system = create_system(Settings(database_url=database_url))
    async with system.app.open(services=False):
        await system.projections.create_worker().drain()


def main() -> None:
    """Measure all phases and print the rates, with their ratio in each round."""
    random.seed(7)
    with Databases() as databases, ExitStack() as stack:
        url = databases.url("postgresql")
        ports = {name: stack.enter_context(serve(each, url)) for name, each in SERVICES.items()}
        print(f"python {sys.version.split()[0]}, {urlsplit(url).scheme}, {ROUNDS} rounds")
        print(f"{'':28}{'toolkit':>12}{'by hand':>12}   ratio (least to greatest)")
        for phase, make in PHASES.items():
            if phase != "POST a line":
                asyncio.run(catch_up(url))
            for connections in CONNECTIONS:
                rates: dict[str, list[float]] = {name: [] for name in ports}
                for number in range(ROUNDS + 1):
                    names = list(ports) if number % 2 else list(reversed(ports))
                    for name in names:
                        rate = asyncio.run(load(ports[name], connections, SECONDS, make))
                        if number:  # The first round is a warm-up.
                            rates[name].append(rate)
                ratios = sorted(
                    ours / floor
                    for ours, floor in zip(rates["toolkit"], rates["by hand"], strict=True)
                )
                ours, floor = (statistics.median(rates[name]) for name in SERVICES)
                print(
                    f"{f'{phase}, {connections} connections':28}{ours:10,.0f}/s{floor:10,.0f}/s"
                    f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
