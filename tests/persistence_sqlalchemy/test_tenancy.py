"""Tests that every statement of a multitenant repository names the tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Text
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cqrs_ddd_core import AggregateRoot, ValueObject
from cqrs_ddd_core.adapters.caching_mixin import CachingMixin
from cqrs_ddd_core.adapters.memory import InMemoryCacheService
from cqrs_ddd_core.adapters.tenant_repository import MultitenantMixin
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.domain import ISpecification
from cqrs_ddd_core.primitives.exceptions import InvalidOperationError, OptimisticConcurrencyError
from cqrs_ddd_core.testing.contracts.tenancy import RepositoryTenancyContract
from cqrs_ddd_persistence_sqlalchemy import SQLAlchemyUnitOfWork
from cqrs_ddd_persistence_sqlalchemy.repository.model_mapper import ModelMapper
from cqrs_ddd_persistence_sqlalchemy.repository.model_mixins import VersionMixin
from cqrs_ddd_persistence_sqlalchemy.repository.repository import SQLAlchemyRepository
from cqrs_ddd_specifications import AttributeSpecification, QueryOptions
from tests.persistence_sqlalchemy.conftest import SessionFactory


class Page(ValueObject):
    text: str


class Letter(AggregateRoot[str]):
    title: str
    tenant_id: str | None = None
    pages: list[Page] = []  # noqa: RUF012 - pydantic copies it


class Base(DeclarativeBase):
    pass


class LetterModel(VersionMixin, Base):
    __tablename__ = "letters"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    tenant_id: Mapped[str] = mapped_column("owning_tenant", Text)
    pages: Mapped[list[PageModel]] = relationship()


class PageModel(Base):
    __tablename__ = "pages"

    number: Mapped[int] = mapped_column(primary_key=True)
    letter_id: Mapped[str] = mapped_column(ForeignKey("letters.id"))
    text: Mapped[str] = mapped_column(Text)


class Letters(
    MultitenantMixin[Letter, str], CachingMixin[Letter, str], SQLAlchemyRepository[Letter, str]
):
    def __init__(self, session_factory: SessionFactory) -> None:
        mapper = ModelMapper(Letter, LetterModel, relations=("pages",))
        super().__init__(Letter, LetterModel, session_factory, mapper=mapper)
        self.use_cache(InMemoryCacheService(), Letter)


class FiltersInPython(Letters):
    """Repository that reads the rows of all tenants and filters them in Python."""

    def row_scope(self) -> ISpecification[Letter] | None:
        return None


@pytest.fixture
async def letters(engine: AsyncEngine, session_factory: SessionFactory) -> AsyncIterator[Letters]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield Letters(session_factory)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


@pytest.fixture
def south() -> Iterator[None]:
    with request_context(tenant_id="south"):
        yield


@pytest.fixture
def sent(engine: AsyncEngine) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda *given: found.append((given[2], given[3])),
    )
    return found


def _letter(title: str, pages: int = 2) -> Letter:
    return Letter(id=title, title=title, pages=[Page(text=str(n)) for n in range(pages)])


async def _call_every_method(letters: Letters, session_factory: SessionFactory) -> None:
    await letters.add(_letter("a"))
    await letters.add_many([_letter("b"), _letter("c"), _letter("d", 0)])
    found = await letters.get("a")
    assert found is not None
    found.title = "changed"
    await letters.add(found)
    await letters.add_many([found])
    assert len(await letters.list_all()) == 4
    assert len(await letters.list_all(["a", "b", "z"])) == 2
    mine = AttributeSpecification("title", "!=", "b")
    assert len(await (await letters.search(mine))) == 3
    assert len(await (await letters.search(QueryOptions(mine, ordering=("title",), limit=2)))) == 2
    async for _ in (await letters.search(QueryOptions())).stream(batch_size=2):
        pass
    async with SQLAlchemyUnitOfWork(session_factory=session_factory) as uow:
        async for each in (await letters.search(mine, uow)).stream(batch_size=1):
            await letters.add(each, uow)
    with pytest.raises(OptimisticConcurrencyError):
        await letters.add(_letter("a"))
    with pytest.raises(OptimisticConcurrencyError):
        await letters.add_many([_letter("e"), _letter("a")])
    await letters.delete("a")


async def _assert_statements_name_tenant(
    letters: Letters, session_factory: SessionFactory, sent: list[tuple[str, Any]]
) -> None:
    with request_context(tenant_id="the tenant of this request"):
        await _call_every_method(letters, session_factory)

    relevant = [(text, given) for text, given in sent if "letters" in text or "pages" in text]
    kinds = {text.split()[0] for text, _ in relevant}
    assert kinds >= {"INSERT", "SELECT", "UPDATE", "DELETE"}
    for text, given in relevant:
        if text.startswith("INSERT INTO pages"):
            continue  # The statement before wrote the letter of these pages, under the tenant.
        assert "owning_tenant" in text, text
        if text.startswith("INSERT"):
            assert "the tenant of this request" in str(given), text
        else:
            condition = text[text.index("WHERE") :]
            assert "owning_tenant" in condition, text
            assert "the tenant of this request" in str(given), text


async def test_every_statement_of_a_multitenant_repository_names_the_tenant(
    letters: Letters, session_factory: SessionFactory, sent: list[tuple[str, Any]]
) -> None:
    await _assert_statements_name_tenant(letters, session_factory, sent)


async def test_statement_check_catches_a_multitenant_repository_that_filters_in_python(
    letters: Letters, session_factory: SessionFactory, sent: list[tuple[str, Any]]
) -> None:
    naive = FiltersInPython(session_factory)

    with pytest.raises(AssertionError, match=r"FROM letters"):
        await _assert_statements_name_tenant(naive, session_factory, sent)


@pytest.fixture
async def theirs(letters: Letters) -> Letter:
    """Store a letter of the tenant north; the requests of the tests belong to the tenant south."""
    with request_context(tenant_id="north"):
        letter = _letter("theirs")
        await letters.add(letter)
    return letter


@pytest.mark.usefixtures("south")
async def test_aggregate_of_another_tenant_is_neither_visible_nor_deleted(
    letters: Letters, theirs: Letter
) -> None:
    assert await letters.get(theirs.id) is None
    assert await letters.list_all([theirs.id]) == []
    assert await letters.list_all() == []
    assert await (await letters.search(AttributeSpecification("title", "=", "theirs"))) == []

    await letters.delete(theirs.id)

    with request_context(tenant_id="north"):
        assert await letters.get(theirs.id) == theirs


@pytest.mark.usefixtures("south")
@pytest.mark.parametrize("version", [0, 1])
async def test_save_under_an_id_of_another_tenant_conflicts_and_changes_nothing(
    letters: Letters, theirs: Letter, version: int
) -> None:
    for save in (letters.add, lambda letter: letters.add_many([letter])):
        mine = Letter(id=theirs.id, title="taken over", tenant_id="south")
        mine.mark_persisted(version)
        with pytest.raises(OptimisticConcurrencyError) as caught:
            await save(mine)
        # The error does not reveal the stored version, only that the id is taken.
        assert caught.value.actual is None

    with request_context(tenant_id="north"):
        assert await letters.list_all() == [theirs]


async def test_search_result_keeps_the_tenant_of_the_search(
    letters: Letters, theirs: Letter
) -> None:
    with request_context(tenant_id="south"):
        await letters.add(_letter("ours"))
        result = await letters.search(QueryOptions())

    with request_context(tenant_id="north"):
        assert [letter.id for letter in await result] == ["ours"]
    assert [letter.id async for letter in result.stream()] == ["ours"]


async def test_multitenant_repository_without_a_tenant_rejects_every_operation(
    letters: Letters,
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: letters.get("a"),
        lambda: letters.list_all(),
        lambda: letters.list_all(["a"]),
        lambda: letters.search(QueryOptions()),
        lambda: letters.delete("a"),
        lambda: letters.add(_letter("a")),
        lambda: letters.add_many([_letter("a")]),
    ]

    for call in calls:
        with pytest.raises(InvalidOperationError, match=r"request_context\(tenant_id"):
            await call()


@pytest.mark.usefixtures("south")
async def test_specification_cannot_match_rows_of_another_tenant(
    letters: Letters, theirs: Letter
) -> None:
    anything = AttributeSpecification("title", "=", "theirs") | AttributeSpecification(
        "tenant_id", "=", "north"
    )

    for criteria in (anything, ~anything, QueryOptions(anything, limit=5)):
        assert await (await letters.search(criteria)) == []


class TestSQLAlchemyRepositoryOfTenants(RepositoryTenancyContract):
    @pytest.fixture
    def tenant_repository(self, letters: Letters) -> Letters:
        return letters

    @pytest.fixture
    def make_owned(self) -> Callable[[str], Letter]:
        return _letter
