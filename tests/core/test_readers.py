from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import pytest

from cqrs_ddd_core.adapters.hierarchy import (
    CachingReader,
    RepositoryACLReader,
    RepositoryParentReader,
    RepositoryTagReader,
)
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.hierarchy import (
    CountingReader,
    InMemoryACLReader,
    InMemoryHierarchy,
    InMemoryParentReader,
    InMemoryTagReader,
    OverlayParentReader,
)
from cqrs_ddd_core.domain.services import (
    ACL,
    ACLInheritanceService,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    CycleDetectionService,
    Grant,
    IACLReader,
    IAsyncBatchParentReader,
    IBatchParentReader,
    IParentReader,
    ITagReader,
    TagInheritanceService,
    as_async_batch_reader,
    as_batch_reader,
)
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.testing.contracts.hierarchy import (
    FOLDERS,
    ACLReaderContract,
    AncestryReaderContract,
    Folder,
    ParentReaderContract,
    TagReaderContract,
)
from tests.core.ways import BATCH, SINGLE, hierarchy, limited

Folders = InMemoryRepository[Folder, str]


@pytest.fixture
async def folders() -> Folders:
    stored: Folders = InMemoryRepository(Folder)
    for folder in FOLDERS:
        await stored.add(folder.model_copy())
    return stored


def in_memory() -> InMemoryHierarchy[str]:
    stored: InMemoryHierarchy[str] = InMemoryHierarchy()
    for folder in FOLDERS:
        stored.node(folder.id, folder.parent_ids, tags=folder.tags, acl=folder.acl)
    return stored


class TestInMemoryHierarchy(
    ParentReaderContract, TagReaderContract, ACLReaderContract, AncestryReaderContract
):
    @pytest.fixture(
        params=[
            in_memory,
            lambda: limited(in_memory(), SINGLE, is_async=False),
            lambda: limited(in_memory(), BATCH, is_async=False),
            lambda: limited(in_memory(), SINGLE, is_async=True),
            lambda: CountingReader(in_memory()),
            lambda: CachingReader(limited(in_memory(), BATCH, is_async=True)),
        ],
        ids=["whole", "single", "batch", "async", "counting", "caching"],
    )
    def parent_reader(self, request: pytest.FixtureRequest) -> object:
        return request.param()

    @pytest.fixture
    def tag_reader(self, parent_reader: object) -> object:
        return parent_reader

    @pytest.fixture
    def acl_reader(self, parent_reader: object) -> object:
        return parent_reader

    @pytest.fixture
    def ancestry_reader(self) -> InMemoryHierarchy[str]:
        return in_memory()


class TestReadersOfDicts(ParentReaderContract, TagReaderContract, ACLReaderContract):
    @pytest.fixture
    def parent_reader(self) -> InMemoryParentReader[str]:
        return InMemoryParentReader({folder.id: folder.parent_ids for folder in FOLDERS})

    @pytest.fixture
    def tag_reader(self) -> InMemoryTagReader[str]:
        return InMemoryTagReader({f.id: (f.tags, f.parent_ids) for f in FOLDERS})

    @pytest.fixture
    def acl_reader(self) -> InMemoryACLReader[str]:
        return InMemoryACLReader({f.id: (f.acl, f.parent_ids) for f in FOLDERS})


class TestReadersOfARepository(ParentReaderContract, TagReaderContract, ACLReaderContract):
    @pytest.fixture
    def parent_reader(self, folders: Folders) -> RepositoryParentReader[Folder, str]:
        return RepositoryParentReader(folders, parents=lambda folder: folder.parent_ids)

    @pytest.fixture
    def tag_reader(self, folders: Folders) -> RepositoryTagReader[Folder, str]:
        return RepositoryTagReader(
            folders, tags=lambda folder: folder.tags, parents=lambda folder: folder.parent_ids
        )

    @pytest.fixture
    def acl_reader(self, folders: Folders) -> RepositoryACLReader[Folder, str]:
        return RepositoryACLReader(
            folders, acl=lambda folder: folder.acl, parents=lambda folder: folder.parent_ids
        )


class TestOverlay(ParentReaderContract):
    @pytest.fixture
    def parent_reader(self) -> OverlayParentReader[str]:
        stored = in_memory().node("child", ("left",)).node("hen")
        return OverlayParentReader(stored, {"child": ("right", "left"), "hen": ("egg",)})


async def test_services_answer_over_a_repository(folders: Folders) -> None:
    cycles = AsyncCycleDetectionService(
        RepositoryParentReader(folders, parents=lambda folder: folder.parent_ids)
    )
    tags = AsyncTagInheritanceService(
        RepositoryTagReader(
            folders, tags=lambda folder: folder.tags, parents=lambda folder: folder.parent_ids
        )
    )
    acls = AsyncACLInheritanceService(
        RepositoryACLReader(
            folders, acl=lambda folder: folder.acl, parents=lambda folder: folder.parent_ids
        )
    )

    assert await cycles.would_create_cycle("root", "grandchild")
    assert await tags.effective_tags("left") == ("b", "a", "B", "naïve ☃")
    assert await acls.is_allowed("left", ["ann"], "read")
    assert not await acls.is_allowed("child", ["ann"], "read")


async def test_a_repository_reader_sees_its_unit_of_work(folders: Folders) -> None:
    async with InMemoryUnitOfWork() as uow:
        await folders.add(Folder(id="new", parent_ids=("root",)), uow)
        inside = RepositoryParentReader(folders, uow, parents=lambda folder: folder.parent_ids)

        assert await inside.get_parent_ids("new") == ("root",)
        assert await inside.get_parent_ids_many(["new"]) == {"new": ("root",)}
        await uow.rollback()

    outside = RepositoryParentReader(folders, parents=lambda folder: folder.parent_ids)
    assert await outside.get_parent_ids("new") is None


async def test_a_caching_reader_asks_for_each_node_once_also_for_a_missing_one() -> None:
    counted = CountingReader(in_memory())
    reader = CachingReader[str](limited(counted, BATCH, is_async=True))
    acls = AsyncACLInheritanceService(reader)

    for _ in range(2):
        await acls.effective_acl("grandchild")
        assert await reader.get_acl_and_parents_many(["missing"]) == {}

    assert set(counted.asked.values()) == {1}


def test_two_moves_that_are_harmless_alone_close_a_cycle_together() -> None:
    stored = hierarchy("root", "a < root", "b < root")
    alone = CycleDetectionService(stored)
    assert not alone.would_create_cycle("a", "b")
    assert not alone.would_create_cycle("b", "a")

    together = CycleDetectionService(OverlayParentReader(stored, {"a": ("b",)}))

    assert together.would_create_cycle("b", "a")


class SyncParents:
    def get_parent_ids(self, node_id: str) -> tuple[str, ...] | None:
        return ()


class AsyncParents:
    async def get_parent_ids_many(self, node_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        await asyncio.sleep(0)
        return {}


def test_an_async_service_refuses_a_sync_reader() -> None:
    with pytest.raises(InvalidOperationError, match="SyncParents.get_parent_ids is sync; use"):
        AsyncCycleDetectionService[str](SyncParents())  # type: ignore[arg-type]
    with pytest.raises(InvalidOperationError, match="is sync; use the sync form"):
        AsyncTagInheritanceService[str](in_memory())  # type: ignore[arg-type]
    with pytest.raises(InvalidOperationError, match="is sync; use the sync form"):
        AsyncACLInheritanceService[str](in_memory())  # type: ignore[arg-type]


def test_a_sync_service_refuses_an_async_reader() -> None:
    # The names alone fit, and so does isinstance.
    assert isinstance(AsyncParents(), IBatchParentReader)
    with pytest.raises(InvalidOperationError, match="get_parent_ids_many is async; use the async"):
        CycleDetectionService[str](AsyncParents())  # type: ignore[arg-type]


def test_a_reader_that_cannot_answer_is_named() -> None:
    tags = TagInheritanceService[str](SyncParents())  # type: ignore[arg-type]

    with pytest.raises(InvalidOperationError, match="SyncParents has neither get_tags_and_parents"):
        tags.effective_tags("a")


def test_a_reader_is_wrapped_once() -> None:
    reader = as_batch_reader(SyncParents())

    assert as_batch_reader(reader) is reader
    assert isinstance(reader, IBatchParentReader)
    assert reader.get_parent_ids_many(("a", "b")) == {"a": (), "b": ()}
    wrapped = as_async_batch_reader(AsyncParents())
    assert as_async_batch_reader(wrapped) is wrapped
    assert isinstance(wrapped, IAsyncBatchParentReader)


def test_any_class_with_the_methods_is_a_reader() -> None:
    class Blocks:
        def get_parent_ids(self, node_id: int) -> tuple[int, ...] | None:
            return (node_id - 1,) if node_id else ()

        def get_tags_and_parents(
            self, node_id: int
        ) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
            return (f"t{node_id}",), self.get_parent_ids(node_id) or ()

        def get_acl_and_parents(self, node_id: int) -> tuple[ACL | None, tuple[int, ...]] | None:
            return ACL.allowing(Grant("ann", "read")), self.get_parent_ids(node_id) or ()

    blocks = Blocks()

    assert isinstance(blocks, IParentReader)
    assert isinstance(blocks, ITagReader)
    assert isinstance(blocks, IACLReader)
    assert CycleDetectionService[int](blocks).would_create_cycle(0, 2)
    assert TagInheritanceService[int](blocks).effective_tags(1) == ("t1", "t0")
    assert ACLInheritanceService[int](blocks).is_allowed(2, ["ann"], "read")


class RootsAreMissing(InMemoryHierarchy[str]):
    """Takes an empty tuple for nothing."""

    def get_parent_ids_many(self, node_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        found = super().get_parent_ids_many(node_ids)
        return {node_id: parents for node_id, parents in found.items() if parents}


class MissingHasNone(InMemoryHierarchy[str]):
    """Gives a record without tags, or without a list, for a missing node."""

    def get_tags_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        return {**dict.fromkeys(node_ids, ((), ())), **super().get_tags_and_parents_many(node_ids)}

    def get_acl_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[ACL | None, tuple[str, ...]]]:
        return {**dict.fromkeys(node_ids, (None, ())), **super().get_acl_and_parents_many(node_ids)}


class EmptyIsNone(InMemoryHierarchy[str]):
    """Takes a list of nobody for no list."""

    def get_acl_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[ACL | None, tuple[str, ...]]]:
        found = super().get_acl_and_parents_many(node_ids)
        return {
            node_id: (acl if acl and acl.allow else None, parents)
            for node_id, (acl, parents) in found.items()
        }


class Sorted(InMemoryHierarchy[str]):
    """Parents and tags in an order of its own."""

    def get_parent_ids_many(self, node_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        found = super().get_parent_ids_many(node_ids)
        return {node_id: tuple(sorted(parents)) for node_id, parents in found.items()}

    def get_tags_and_parents_many(
        self, node_ids: Collection[str]
    ) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        found = super().get_tags_and_parents_many(node_ids)
        return {node_id: (tuple(sorted(tags)), above) for node_id, (tags, above) in found.items()}


async def _parents_hold(reader: InMemoryHierarchy[str]) -> None:
    contract = ParentReaderContract()
    await contract.test_parents_are_a_tuple_in_their_stored_order(reader)
    await contract.test_a_missing_node_has_no_record_and_a_root_an_empty_tuple(reader)


async def _tags_hold(reader: InMemoryHierarchy[str]) -> None:
    contract = TagReaderContract()
    await contract.test_tags_keep_their_order_and_spelling(reader)
    await contract.test_a_missing_node_is_not_a_node_without_tags(reader)


async def _lists_hold(reader: InMemoryHierarchy[str]) -> None:
    contract = ACLReaderContract()
    await contract.test_no_list_nobody_and_unrestricted_stay_apart(reader)
    await contract.test_a_missing_node_is_not_a_node_without_a_list(reader)


@pytest.mark.parametrize(
    ("naive", "sentences"),
    [
        (RootsAreMissing, _parents_hold),
        (Sorted, _parents_hold),
        (Sorted, _tags_hold),
        (MissingHasNone, _tags_hold),
        (MissingHasNone, _lists_hold),
        (EmptyIsNone, _lists_hold),
    ],
)
async def test_the_contract_catches_a_naive_reader(
    naive: type[InMemoryHierarchy[str]],
    sentences: Callable[[InMemoryHierarchy[str]], Awaitable[None]],
) -> None:
    reader = naive()
    for folder in FOLDERS:
        reader.node(folder.id, folder.parent_ids, tags=folder.tags, acl=folder.acl)

    await sentences(in_memory())
    with pytest.raises(AssertionError):
        await sentences(reader)
