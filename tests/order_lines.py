"""Files of orders of any size, with the proportions of a small wholesaler."""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path

COLUMNS = (
    *("order_id", "customer_id", "order_date", "shipped_date", "ship_city", "ship_country"),
    *("product_id", "product_name", "quantity", "unit_price", "discount"),
)
CUSTOMERS = 89
COUNTRIES = 21
PRODUCTS = 77


def write_orders(
    path: Path,
    *,
    orders: int = 830,
    lines: int = 2155,
    unshipped: float = 0.03,
    padding: str = "",
    seed: int = 20,
) -> Path:
    """Write orders with one line each and distribute the other lines; equal seeds, equal files.

    A customer lives in one country. A file with at least as many orders as customers contains every
    customer and country. A share of the orders is not shipped yet. The ``padding`` makes every name
    and every id longer, except for the id of the order.
    """
    dice = random.Random(seed)
    sizes = [1] * orders
    for _ in range(lines - orders):
        sizes[dice.randrange(orders)] += 1
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for number, size in enumerate(sizes):
            customer = number if number < CUSTOMERS else dice.randrange(CUSTOMERS)
            placed = date(2025, 1, 1) + timedelta(days=number % 500)
            shipped = placed + timedelta(days=dice.randint(1, 30))
            facts = (
                10_000 + number,
                f"CUST{customer:02}{padding}",
                placed.isoformat(),
                "" if dice.random() < unshipped else shipped.isoformat(),
                f"City {customer % 40}{padding}",
                f"Country {customer % COUNTRIES}{padding}",
            )
            for product in dice.sample(range(PRODUCTS), size):
                quantity = dice.randint(1, 120)
                price = f"{dice.randint(250, 26_350) / 100:.2f}"
                discount = dice.choice(("0.00", "0.00", "0.00", "0.05", "0.10", "0.25"))
                names = f"{product}{padding}", f"Product number {product}{padding}"
                line = (*names, quantity, price, discount)
                rows.writerow((*facts, *line))
    return path
