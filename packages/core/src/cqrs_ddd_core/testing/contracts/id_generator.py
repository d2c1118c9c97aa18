"""What every id generator must do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ...primitives.id_generator import IIdGenerator


class IdGeneratorContract:
    """Fixture: ``ids``."""

    def test_an_id_is_a_text(self, ids: IIdGenerator) -> None:
        made = ids.next_id()

        assert isinstance(made, str)
        assert made

    def test_no_id_comes_twice_also_among_threads(self, ids: IIdGenerator) -> None:
        with ThreadPoolExecutor(4) as threads:
            batches = list(threads.map(lambda _: [ids.next_id() for _ in range(1_000)], range(4)))

        assert len({made for batch in batches for made in batch}) == 4_000
