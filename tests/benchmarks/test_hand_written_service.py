"""The hand-written service of the load test answers like the order service of the examples."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from order_service.service import create_app
from order_system.settings import Settings

from tests.benchmarks import hand_written_service, load
from tests.databases import new_database

ORDER = {"customer_id": "ANNA", "country": "Sweden", "placed_at": "2026-01-02T09:00:00Z"}
LINE = {"id": "1", "product_id": "P-7", "product": "Tea", "quantity": 2, "unit_price": "3.50"}


async def record_answers(app: FastAPI, database_url: str) -> list[tuple[int, Any]]:
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://orders.test")
    async with app.router.lifespan_context(app), client:

        async def post(order_id: str, key: str, **changed: Any) -> httpx.Response:
            body = {**ORDER, "line": {**LINE, **changed}}
            headers = {"Idempotency-Key": key}
            return await client.post(f"/orders/{order_id}/lines", json=body, headers=headers)

        answers = [
            await post("S-1", "a"),
            await post("S-1", "a"),  # Sent again with the same key.
            await post("S-1", "b"),  # The same line with another key.
            await post("S-1", "c", id="2", discount="0.1"),
            await post("S-2", "d"),
            await client.get("/revenue/2026-01-02"),
            await client.get("/revenue/2026-01-03"),
        ]
        await load.catch_up(database_url)
        answers += [await client.get("/orders?limit=1")]
        answers += [await client.get(answers[-1].json()["next"])]
        return [(each.status_code, each.json()) for each in answers]


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    url = new_database(postgres_url)
    monkeypatch.setenv("DATABASE_URL", url)
    return url


async def test_services_of_the_load_test_answer_alike(url: str) -> None:
    ours = await record_answers(create_app(Settings(url, services=False)), url)
    by_hand = await record_answers(hand_written_service.create_app(), url)

    for one, other in zip(ours, by_hand, strict=True):
        assert one[0] == other[0]
        assert _without_links(one[1]) == _without_links(other[1])


def _without_links(body: Any) -> Any:
    if "orders" not in body:
        return {**body, "revenue": float(body["revenue"])} if "revenue" in body else body
    return [{**order, "amount": float(order["amount"])} for order in body["orders"]]
