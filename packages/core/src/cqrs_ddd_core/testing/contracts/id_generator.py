"""Contract of id generators."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ...primitives.id_generator import IIdGenerator


class IdGeneratorContract:
    """Contract of ``IIdGenerator``.

    Fixtures:
        ids: The generator under test.
    """

    def test_id_generator_returns_non_empty_text(self, ids: IIdGenerator) -> None:
        new_id = ids.next_id()

        assert isinstance(new_id, str)
        assert new_id

    def test_generated_ids_are_unique_across_threads(self, ids: IIdGenerator) -> None:
        with ThreadPoolExecutor(4) as threads:
            batches = list(threads.map(lambda _: [ids.next_id() for _ in range(1_000)], range(4)))

        assert len({each for batch in batches for each in batch}) == 4_000
