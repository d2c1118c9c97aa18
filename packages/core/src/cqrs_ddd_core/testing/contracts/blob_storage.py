"""Contract of blob storages."""

from __future__ import annotations

from itertools import count
from typing import Any

from ...ports.blob_storage import IBlobStorage
from ...primitives.exceptions import InvalidOperationError
from ..assertions import raises
from ..faults import cancel_sweep
from .tenancy import BlobStorageTenancyContract


class BlobStorageContract(BlobStorageTenancyContract):
    """Contract of ``IBlobStorage``.

    Fixtures:
        blobs: The storage under test.
    """

    async def test_blob_storage_returns_saved_bytes_unchanged(self, blobs: IBlobStorage) -> None:
        for content in (b"", b"\x00\xff", bytes(range(256)) * 5_000):
            key = _key()

            await blobs.save(key, content, content_type="application/octet-stream")

            assert await blobs.load(key) == content

    async def test_saving_a_blob_again_replaces_its_whole_content(
        self, blobs: IBlobStorage
    ) -> None:
        key = _key()
        content: Any = bytearray(b"first, and longer")
        await blobs.save(key, content)
        content[:] = b"changed afterwards"
        assert await blobs.load(key) == b"first, and longer"

        await blobs.save(key, b"second")

        assert await blobs.load(key) == b"second"

    async def test_absent_blob_loads_as_none_and_can_be_deleted(self, blobs: IBlobStorage) -> None:
        key = _key()
        await blobs.save(key, b"x")

        await blobs.delete(key)
        await blobs.delete(key)

        assert await blobs.load(key) is None

    async def test_cancelled_blob_save_leaves_the_old_or_the_new_content(
        self, blobs: IBlobStorage
    ) -> None:
        key = _key()
        await blobs.save(key, b"old")

        async def work() -> None:
            await blobs.save(key, b"new")

        async def check() -> None:
            assert await blobs.load(key) in (b"old", b"new")

        assert await cancel_sweep(work, check) > 0

    async def test_blob_storage_rejects_invalid_keys_and_contents(
        self, blobs: IBlobStorage
    ) -> None:
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
    """Return a key that no other test of this process uses."""
    return f"blobs/{next(_numbers)}"
