from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest

from cqrs_ddd_core.adapters.hierarchy import (
    CachingReader,
    RepositoryACLReader,
    RepositoryParentReader,
    RepositoryTagReader,
)
from cqrs_ddd_core.adapters.memory import InMemoryRepository, InMemoryUnitOfWork
from cqrs_ddd_core.adapters.memory.hierarchy import InMemoryHierarchy
from cqrs_ddd_core.domain.services import (
    ACL,
    ACLInheritanceService,
    AsyncACLInheritanceService,
    AsyncCycleDetectionService,
    AsyncTagInheritanceService,
    CycleDetectionService,
    Grant,
    IACLReader,
    IBatchReader,
    IParentReader,
    ITagReader,
    TagInheritanceService,
)
from cqrs_ddd_core.domain.services.hierarchy import AsyncReader
from cqrs_ddd_core.domain.services.readers import ACLAndParents, TagsAndParents
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError
from cqrs_ddd_core.testing.contracts.hierarchy import (
    FOLDERS,
    ACLReaderContract,
    AncestryReaderContract,
    Folder,
    ParentReaderContract,
    TagReaderContract,
)
from tests.core.service_variants import CountingReader, ServiceVariant

Folders = InMemoryRepository[Folder, str]


@pytest.fixture
async def folders() -> Folders:
    stored: Folders = InMemoryRepository(Folder)
    for folder in FOLDERS:
        await stored.add(folder.model_copy())
    return stored


def build_in_memory() -> InMemoryHierarchy[str]:
    stored: InMemoryHierarchy[str] = InMemoryHierarchy()
    for folder in FOLDERS:
        stored.node(folder.id, folder.parent_ids, tags=folder.tags, acl=folder.acl)
    return stored


def limit_reader(source: object, method: str, *, is_async: bool, reads: Any = "batch") -> Any:
    return ServiceVariant(is_async, reads).reader(source, method)


CREATE_READER: list[Callable[[object, str], object]] = [
    lambda source, method: source,
    lambda source, method: limit_reader(source, method, is_async=False, reads="single"),
    lambda source, method: limit_reader(source, method, is_async=False),
    lambda source, method: limit_reader(source, method, is_async=True, reads="single"),
    lambda source, method: CachingReader(limit_reader(source, method, is_async=True)),
]


@pytest.mark.parametrize(
    "create_reader", CREATE_READER, ids=["whole", "single", "batch", "async", "caching"]
)
class TestInMemoryHierarchy(ParentReaderContract, TagReaderContract, ACLReaderContract):
    @pytest.fixture
    def parent_reader(self, create_reader: Callable[[object, str], object]) -> object:
        return create_reader(build_in_memory(), "get_parent_ids")

    @pytest.fixture
    def tag_reader(self, create_reader: Callable[[object, str], object]) -> object:
        return create_reader(build_in_memory(), "get_tags_and_parents")

    @pytest.fixture
    def acl_reader(self, create_reader: Callable[[object, str], object]) -> object:
        return create_reader(build_in_memory(), "get_acl_and_parents")


class TestAncestryInMemory(AncestryReaderContract):
    @pytest.fixture
    def ancestry_reader(self) -> InMemoryHierarchy[str]:
        return build_in_memory()


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


async def test_hierarchy_services_work_over_a_repository(folders: Folders) -> None:
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


async def test_repository_reader_sees_its_unit_of_work(folders: Folders) -> None:
    async with InMemoryUnitOfWork() as uow:
        await folders.add(Folder(id="new", parent_ids=("root",)), uow)
        inside = RepositoryParentReader(folders, uow, parents=lambda folder: folder.parent_ids)

        assert await inside.get_parent_ids("new") == ("root",)
        assert await inside.get_many(["new"]) == {"new": ("root",)}
        await uow.rollback()

    outside = RepositoryParentReader(folders, parents=lambda folder: folder.parent_ids)
    assert await outside.get_parent_ids("new") is None


async def test_caching_reader_reads_each_node_once_even_a_missing_one() -> None:
    counted = CountingReader(build_in_memory().get_acl_and_parents)
    reader: CachingReader[str, ACLAndParents[str]] = CachingReader(
        AsyncReader(counted, "get_acl_and_parents", is_async=False)
    )
    acls = AsyncACLInheritanceService(reader)

    for _ in range(2):
        await acls.effective_acl("grandchild")
        assert await reader.get_many(["missing"]) == {}

    assert set(counted.reads.values()) == {1}


class SyncParents:
    def get_parent_ids(self, node_id: str) -> tuple[str, ...] | None:
        return ()


class AsyncParents:
    async def get_many(self, node_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        await asyncio.sleep(0)
        return {}


def test_async_hierarchy_service_rejects_a_sync_reader() -> None:
    with pytest.raises(InvalidOperationError, match="SyncParents.get_parent_ids is sync; use"):
        AsyncCycleDetectionService[str](SyncParents())  # type: ignore[arg-type]
    with pytest.raises(InvalidOperationError, match="is sync; use the sync form"):
        AsyncTagInheritanceService[str](build_in_memory())  # type: ignore[arg-type]
    with pytest.raises(InvalidOperationError, match="is sync; use the sync form"):
        AsyncACLInheritanceService[str](build_in_memory())  # type: ignore[arg-type]


def test_sync_hierarchy_service_rejects_an_async_reader() -> None:
    # isinstance compares method names only, so it accepts the reader.
    assert isinstance(AsyncParents(), IBatchReader)
    with pytest.raises(InvalidOperationError, match="get_many is async; use the async form"):
        CycleDetectionService[str](AsyncParents())  # type: ignore[arg-type]


class ParentBatches(SyncParents):
    def get_many(self, node_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        return dict.fromkeys(node_ids, ())


@pytest.mark.parametrize("reader", [SyncParents(), ParentBatches(), object()])
def test_tag_service_rejects_a_reader_of_other_records(reader: Any) -> None:
    with pytest.raises(InvalidOperationError, match="has neither get_tags_and_parents nor"):
        TagInheritanceService[str](reader)


def test_sync_hierarchy_service_has_the_methods_of_the_async_service() -> None:
    for sync, asynchronous in (
        (CycleDetectionService, AsyncCycleDetectionService),
        (TagInheritanceService, AsyncTagInheritanceService),
        (ACLInheritanceService, AsyncACLInheritanceService),
    ):
        methods = _public_methods(asynchronous)
        assert _public_methods(sync) == methods
        assert all(inspect.iscoroutinefunction(getattr(asynchronous, each)) for each in methods)
        assert not any(inspect.iscoroutinefunction(getattr(sync, each)) for each in methods)


def _public_methods(service: type[object]) -> dict[str, tuple[inspect.Signature, str | None]]:
    return {
        name: (inspect.signature(method), method.__doc__)
        for name, method in vars(service).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def test_any_class_with_the_reader_methods_is_a_reader() -> None:
    class Blocks:
        def get_parent_ids(self, node_id: int) -> tuple[int, ...] | None:
            return (node_id - 1,) if node_id else ()

        def get_tags_and_parents(
            self, node_id: int
        ) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
            return (f"t{node_id}",), self.get_parent_ids(node_id) or ()

        def get_acl_and_parents(self, node_id: int) -> tuple[ACL | None, tuple[int, ...]] | None:
            return ACL.from_grants(Grant("ann", "read")), self.get_parent_ids(node_id) or ()

    blocks = Blocks()

    assert isinstance(blocks, IParentReader)
    assert isinstance(blocks, ITagReader)
    assert isinstance(blocks, IACLReader)
    assert CycleDetectionService[int](blocks).would_create_cycle(0, 2)
    assert TagInheritanceService[int](blocks).effective_tags(1) == ("t1", "t0")
    assert ACLInheritanceService[int](blocks).is_allowed(2, ["ann"], "read")


class RootsAreMissing(InMemoryHierarchy[str]):
    """Wrong variant: treats a root as a missing node."""

    def get_parent_ids(self, node_id: str) -> tuple[str, ...] | None:
        return super().get_parent_ids(node_id) or None


class MissingHasNone(InMemoryHierarchy[str]):
    """Wrong variant: treats a missing node as a node without tags or list."""

    def get_tags_and_parents(self, node_id: str) -> TagsAndParents[str]:
        return super().get_tags_and_parents(node_id) or ((), ())

    def get_acl_and_parents(self, node_id: str) -> ACLAndParents[str]:
        return super().get_acl_and_parents(node_id) or (None, ())


class EmptyIsNone(InMemoryHierarchy[str]):
    """Wrong variant: treats an empty list as no list."""

    def get_acl_and_parents(self, node_id: str) -> ACLAndParents[str] | None:
        found = super().get_acl_and_parents(node_id)
        if found is None:
            return None
        acl, parents = found
        return (acl if acl and acl.allow else None, parents)


class Sorted(InMemoryHierarchy[str]):
    """Wrong variant: sorts parents and tags."""

    def get_parent_ids(self, node_id: str) -> tuple[str, ...] | None:
        parents = super().get_parent_ids(node_id)
        return None if parents is None else tuple(sorted(parents))

    def get_tags_and_parents(self, node_id: str) -> TagsAndParents[str] | None:
        found = super().get_tags_and_parents(node_id)
        return None if found is None else (tuple(sorted(found[0])), found[1])


async def _check_parents(reader: InMemoryHierarchy[str]) -> None:
    contract = ParentReaderContract()
    await contract.test_parent_reader_returns_parents_in_stored_order(reader)
    await contract.test_parent_reader_omits_missing_nodes_and_returns_no_parents_for_a_root(reader)


async def _check_tags(reader: InMemoryHierarchy[str]) -> None:
    contract = TagReaderContract()
    await contract.test_tag_reader_keeps_the_order_and_spelling_of_tags(reader)
    await contract.test_tag_reader_omits_missing_nodes_but_not_nodes_without_tags(reader)


async def _check_lists(reader: InMemoryHierarchy[str]) -> None:
    contract = ACLReaderContract()
    await contract.test_acl_reader_distinguishes_no_list_from_an_empty_and_an_unrestricted_list(
        reader
    )
    await contract.test_acl_reader_omits_missing_nodes_but_not_nodes_without_a_list(reader)


@pytest.mark.parametrize(
    ("naive", "check"),
    [
        (RootsAreMissing, _check_parents),
        (Sorted, _check_parents),
        (Sorted, _check_tags),
        (MissingHasNone, _check_tags),
        (MissingHasNone, _check_lists),
        (EmptyIsNone, _check_lists),
    ],
)
async def test_hierarchy_reader_check_catches_each_wrong_reader(
    naive: type[InMemoryHierarchy[str]],
    check: Callable[[InMemoryHierarchy[str]], Awaitable[None]],
) -> None:
    reader = naive()
    for folder in FOLDERS:
        reader.node(folder.id, folder.parent_ids, tags=folder.tags, acl=folder.acl)

    await check(build_in_memory())
    with pytest.raises(AssertionError):
        await check(reader)
