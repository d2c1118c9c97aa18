"""What every blob storage must do."""

from __future__ import annotations

from itertools import count
from typing import Any

from ...ports.blob_storage import IBlobStorage
from ...primitives.exceptions import InvalidOperationError
from ..assertions import raises
from ..faults import cancel_sweep


class BlobStorageContract:
    """Fixture: ``blobs``."""

    async def test_bytes_come_back_as_they_were(self, blobs: IBlobStorage) -> None:
        for content in (b"", b"\x00\xff", bytes(range(256)) * 5_000):
            key = _key()

            await blobs.save(key, content, content_type="application/octet-stream")

            assert await blobs.load(key) == content

    async def test_what_is_saved_again_is_replaced_as_a_whole(self, blobs: IBlobStorage) -> None:
        key = _key()
        content: Any = bytearray(b"first, and longer")
        await blobs.save(key, content)
        content[:] = b"changed afterwards"
        assert await blobs.load(key) == b"first, and longer"

        await blobs.save(key, b"second")

        assert await blobs.load(key) == b"second"

    async def test_an_absent_one_is_none_and_may_be_deleted(self, blobs: IBlobStorage) -> None:
        key = _key()
        await blobs.save(key, b"x")

        await blobs.delete(key)
        await blobs.delete(key)

        assert await blobs.load(key) is None

    async def test_a_cancellation_at_any_point_leaves_the_old_or_the_new(
        self, blobs: IBlobStorage
    ) -> None:
        key = _key()
        await blobs.save(key, b"old")

        async def work() -> None:
            await blobs.save(key, b"new")

        async def check() -> None:
            assert await blobs.load(key) in (b"old", b"new")

        assert await cancel_sweep(work, check) > 0

    async def test_unusable_keys_and_contents_are_refused(self, blobs: IBlobStorage) -> None:
        unusable: list[Any] = ["", None, 7]
        for key in unusable:
            with raises(InvalidOperationError):
                await blobs.save(key, b"x")
            with raises(InvalidOperationError):
                await blobs.load(key)
        text: Any = "text"
        with raises(InvalidOperationError):
            await blobs.save(_key(), text)


_numbers = count(1)


def _key() -> str:
    """A key that no other test of this process uses."""
    return f"blobs/{next(_numbers)}"
