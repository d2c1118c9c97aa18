"""Tests of the aggregate updater, which changes one aggregate without a mediator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import AwareDatetime, BaseModel, Field, SecretStr, field_validator

from cqrs_ddd_advanced_core.conflict import (
    AggregateUpdater,
    DeepMergeStrategy,
    FieldLevelMergeStrategy,
    LastWinsStrategy,
    UnionListMergeStrategy,
)
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.exceptions import MergeConflictError
from cqrs_ddd_advanced_core.ports.conflict import IMergeStrategy
from cqrs_ddd_core import AggregateRoot, DomainEvent, UnitOfWork, get_current_uow
from cqrs_ddd_core.adapters.memory import (
    FakeClock,
    InMemoryEventStore,
    InMemoryRepository,
    InMemoryUnitOfWork,
)
from cqrs_ddd_core.instrumentation import Operation, hooks
from cqrs_ddd_core.primitives.exceptions import (
    ConfigError,
    EntityNotFoundError,
    InvalidOperationError,
    LockAcquisitionError,
    OptimisticConcurrencyError,
    SerializationError,
    ValidationError,
)
from cqrs_ddd_core.primitives.retry import FixedRetryPolicy, RetryPolicy
from cqrs_ddd_core.testing.contracts.parcel import Parcel
from cqrs_ddd_core.testing.faults import cancel_sweep


class Size(BaseModel):
    width: Decimal
    height: Decimal


class TitleChanged(DomainEvent):
    title: str


class Article(AggregateRoot[str]):
    title: str = ""
    text: str = ""
    tags: list[str] = Field(default_factory=list)
    size: Size = Size(width=Decimal("1.00"), height=Decimal("1.00"))
    published_at: AwareDatetime | None = None

    def rename(self, title: str) -> None:
        self.add_event(TitleChanged(title=title))

    def apply_TitleChanged(self, event: TitleChanged) -> None:
        self.title = event.title

    @field_validator("title")
    @classmethod
    def _not_too_long(cls, title: str) -> str:
        if len(title) > 20:
            raise ValueError("at most 20 characters")
        return title


MERGING = DeepMergeStrategy({"tags": UnionListMergeStrategy()})


class Desk:
    """Updater over one repository; each rival commits a change before the updater does."""

    def __init__(self, strategy: IMergeStrategy | None = None, *, max_attempts: int = 5) -> None:
        self.articles = InMemoryRepository[Article, str](Article)
        self.rivals: list[Callable[[Article], object]] = []
        self.units: list[InMemoryUnitOfWork] = []
        self.handler = AggregateUpdater(
            self.articles,
            uow_factory=self._new_uow,
            strategy=strategy,
            retry=RetryPolicy(max_attempts),
        )

    async def add_article(self, **fields: Any) -> Article:
        article = Article(id="a-1", **fields)
        await self.articles.add(article)
        return article

    async def load_article(self) -> Article:
        found = await self.articles.get("a-1")
        assert found is not None
        return found

    def _new_uow(self) -> InMemoryUnitOfWork:
        desk = self

        class OvertakenUnitOfWork(InMemoryUnitOfWork):
            async def commit(self) -> None:
                if desk.rivals:
                    change = desk.rivals.pop(0)
                    async with InMemoryUnitOfWork() as other:
                        article = await desk.articles.get("a-1", other)
                        assert article is not None
                        change(article)
                        await desk.articles.add(article, other)
                await super().commit()

        self.units.append(OvertakenUnitOfWork())
        return self.units[-1]


def set_fields(**fields: Any) -> Callable[[Article], None]:
    def change(article: Article) -> None:
        for name, value in fields.items():
            setattr(article, name, value)

    return change


async def test_update_stores_the_change_and_returns_the_result_of_the_callback() -> None:
    desk = Desk()
    await desk.add_article(title="old")

    def change(article: Article) -> str:
        before, article.title = article.title, "new"
        return before

    assert await desk.handler.update("a-1", change) == "old"
    assert (await desk.load_article()).title == "new"
    assert (await desk.load_article()).version == 2


async def test_update_runs_the_callback_on_a_reloaded_aggregate_after_a_conflict() -> None:
    desk = Desk()
    await desk.add_article(tags=["a"])
    desk.rivals = [set_fields(text="theirs"), set_fields(title="theirs")]
    seen = []

    def change(article: Article) -> None:
        seen.append((article.title, article.text, list(article.tags), article.version))
        article.tags.append("mine")

    await desk.handler.update("a-1", change)

    assert seen == [("", "", ["a"], 1), ("", "theirs", ["a"], 2), ("theirs", "theirs", ["a"], 3)]
    assert (await desk.load_article()).tags == ["a", "mine"]
    assert len(desk.units) == 3


async def test_update_with_a_strategy_merges_the_change_and_runs_the_callback_once() -> None:
    desk = Desk(MERGING)
    await desk.add_article(tags=["a", "b"])
    desk.rivals = [
        set_fields(tags=["b", "theirs"], text="theirs"),
        lambda article: setattr(article.size, "width", Decimal("2.50")),
    ]
    versions = []

    def change(article: Article) -> str:
        versions.append(article.version)
        article.tags.append("mine")
        article.title = "mine"
        article.size.height = Decimal("7.00")
        return "answer"

    answer = await desk.handler.update("a-1", change)

    stored = await desk.load_article()
    assert (answer, versions) == ("answer", [1])
    assert (stored.title, stored.text, stored.tags) == ("mine", "theirs", ["b", "theirs", "mine"])
    assert stored.size == Size(width=Decimal("2.50"), height=Decimal("7.00"))
    assert stored.version == 4


class BaselessUpdater(AggregateUpdater[Article, str]):
    """Updater that uses the stored state as the base of the change."""

    async def _merge(
        self, entity_id: str, base: Mapping[str, Any], mine: Mapping[str, Any], uow: UnitOfWork
    ) -> Article:
        stored = (await self._load(entity_id, uow)).model_dump(mode="json")
        return await super()._merge(entity_id, stored, mine, uow)


async def test_merge_check_catches_an_updater_that_undoes_the_change_of_the_other_side() -> None:
    texts = []
    for kind in (BaselessUpdater, AggregateUpdater[Article, str]):
        desk = Desk()
        await desk.add_article()
        desk.rivals = [set_fields(text="theirs")]
        handler = kind(desk.articles, uow_factory=desk._new_uow, strategy=MERGING)
        await handler.update("a-1", set_fields(title="mine"))
        texts.append((await desk.load_article()).text)

    assert texts == ["", "theirs"]


async def test_merge_conflict_names_the_paths_and_keeps_the_stored_value() -> None:
    desk = Desk(MERGING)
    await desk.add_article()
    desk.rivals = [set_fields(title="theirs", size=Size(width=Decimal(3), height=Decimal(1)))]

    with pytest.raises(MergeConflictError) as caught:
        await desk.handler.update(
            "a-1", set_fields(title="mine", size=Size(width=Decimal(4), height=Decimal(1)))
        )

    assert caught.value.fields == ("title", "size.width")
    assert (await desk.load_article()).title == "theirs"
    assert not any(unit.is_open for unit in desk.units)


async def test_update_with_recorded_events_runs_the_callback_again_instead_of_merging() -> None:
    desk = Desk(FieldLevelMergeStrategy(default=LastWinsStrategy()))
    await desk.add_article(title="old")
    desk.rivals = [set_fields(title="theirs")]

    await desk.handler.update("a-1", lambda article: article.rename(f"{article.title}+"))

    stored = await desk.load_article()
    assert (stored.title, stored.version) == ("theirs+", 3)


async def test_merge_that_equals_the_stored_state_stores_nothing() -> None:
    desk = Desk(MERGING)
    await desk.add_article()
    desk.rivals = [set_fields(title="both")]

    await desk.handler.update("a-1", set_fields(title="both"))

    assert (await desk.load_article()).version == 2


async def test_update_raises_the_last_conflict_after_all_attempts() -> None:
    for strategy in (None, MERGING):
        desk = Desk(strategy, max_attempts=3)
        await desk.add_article()
        desk.rivals = [set_fields(text=str(number)) for number in range(9)]

        with pytest.raises(OptimisticConcurrencyError) as caught:
            await desk.handler.update("a-1", set_fields(title="mine"))

        assert len(desk.units) == 3
        assert (caught.value.expected, caught.value.actual) == (3, 4)


async def test_update_reports_every_wait_to_the_hooks() -> None:
    desk = Desk()
    await desk.add_article()
    desk.rivals = [set_fields(text="theirs")]
    operations: list[Operation] = []

    def watch(operation: Operation) -> AbstractContextManager[None]:
        operations.append(operation)
        return nullcontext()

    remove = hooks.register(watch, operations="conflict.*")
    try:
        await desk.handler.update("a-1", set_fields(title="mine"))
    finally:
        remove()

    (operation,) = operations
    assert operation.name == "conflict.retry"
    assert operation.attributes == {
        "attempt": 1,
        "error": "OptimisticConcurrencyError",
        "subject": "InMemoryRepository",
        "subject_id": "a-1",
    }


async def test_update_does_not_retry_other_errors() -> None:
    desk = Desk()
    await desk.add_article()

    def change(article: Article) -> None:
        raise LockAcquisitionError("taken")

    with pytest.raises(LockAcquisitionError):
        await desk.handler.update("a-1", change)
    assert len(desk.units) == 1


async def test_missing_aggregate_cannot_be_updated() -> None:
    with pytest.raises(EntityNotFoundError) as caught:
        await Desk().handler.update("a-2", set_fields(title="x"))

    assert caught.value.entity_id == "a-2"


async def test_aggregate_updater_rejects_an_open_unit_of_work() -> None:
    desk = Desk(MERGING)
    await desk.add_article()

    async with InMemoryUnitOfWork():
        with pytest.raises(InvalidOperationError, match="ConflictRetryMiddleware"):
            await desk.handler.update("a-1", set_fields(title="x"))
        with pytest.raises(InvalidOperationError, match="ConflictRetryMiddleware"):
            await desk.handler.merge("a-1", base={"title": ""}, mine={"title": "x"})

    assert desk.units == []


async def test_cancelled_retry_wait_of_an_update_leaves_no_open_unit_of_work() -> None:
    desk, clock = Desk(), FakeClock()
    await desk.add_article()
    desk.rivals = [set_fields(text="theirs")]
    handler = AggregateUpdater(
        desk.articles,
        uow_factory=desk._new_uow,
        retry=FixedRetryPolicy(delay=60.0),
        clock=clock,
    )
    waiting = asyncio.ensure_future(handler.update("a-1", set_fields(title="mine")))
    await clock.advance(1.0)
    for _ in range(200):
        await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait({waiting})
    await clock.advance(120.0)

    assert waiting.cancelled()
    assert [unit.is_open for unit in desk.units] == [False]
    assert (await desk.load_article()).title == ""


@pytest.mark.parametrize("strategy", [None, MERGING])
async def test_cancelled_update_stores_all_or_nothing(strategy: Any) -> None:
    desk = Desk(strategy)

    async def work() -> None:
        desk.articles = InMemoryRepository(Article)
        desk.handler = AggregateUpdater(
            desk.articles, uow_factory=desk._new_uow, strategy=strategy, retry=RetryPolicy()
        )
        await desk.add_article()
        desk.rivals = [set_fields(text="theirs")]
        await desk.handler.update("a-1", set_fields(title="mine"))

    async def check() -> None:
        assert get_current_uow() is None
        assert not any(unit.is_open for unit in desk.units)
        found = await desk.articles.get("a-1")
        if found is not None:
            expected = [("", ""), ("", "theirs"), ("mine", "theirs")]
            assert (found.title, found.text) in expected

    assert await cancel_sweep(work, check) > 5


# Edits in a form that was open for some time.


async def test_merge_keeps_changes_made_by_others_since_the_base_was_read() -> None:
    desk = Desk(MERGING)
    shown = (await desk.add_article(title="old", tags=["a"])).model_dump(mode="json")
    base = {name: shown[name] for name in ("title", "tags", "size", "published_at")}
    await desk.handler.update("a-1", set_fields(tags=["a", "b"], text="theirs"))
    desk.rivals = [set_fields(published_at=datetime(2026, 1, 1, tzinfo=timezone.utc))]

    answer = await desk.handler.merge(
        "a-1", base=base, mine={**base, "title": "mine", "size": {"width": "9.5", "height": "1.00"}}
    )

    stored = await desk.load_article()
    assert (stored.title, stored.text, stored.tags) == ("mine", "theirs", ["a", "b"])
    assert stored.size.width == Decimal("9.5")
    assert stored.published_at is not None
    assert (answer.version, answer.title) == (stored.version, "mine")


async def test_merge_of_a_field_changed_by_another_user_is_a_conflict() -> None:
    desk = Desk(MERGING)
    await desk.add_article(title="old")
    await desk.handler.update("a-1", set_fields(title="theirs"))

    with pytest.raises(MergeConflictError) as caught:
        await desk.handler.merge("a-1", base={"title": "old"}, mine={"title": "mine"})

    assert caught.value.fields == ("title",)


async def test_merge_without_a_change_stores_nothing() -> None:
    desk = Desk(MERGING)
    await desk.add_article(title="old")

    await desk.handler.merge("a-1", base={"title": "old"}, mine={"title": "old"})

    assert (await desk.load_article()).version == 1


@pytest.mark.parametrize(
    ("base", "mine", "field"),
    [
        ({"title": "old"}, {"title": "x" * 21}, "title"),
        ({"title": "old"}, {"title": "old", "text": "x"}, "text"),
        ({"title": "old", "text": ""}, {"title": "new"}, "text"),
        ({"titel": "old"}, {"titel": "new"}, "titel"),
        ({"id": "a-1"}, {"id": "a-2"}, "id"),
        ({"size": {"width": "1.00"}}, {"size": {"width": "wide"}}, "size.width"),
    ],
)
async def test_merge_that_violates_the_validation_of_the_aggregate_is_rejected(
    base: dict[str, Any], mine: dict[str, Any], field: str
) -> None:
    desk = Desk(MERGING)
    await desk.add_article(title="old")

    with pytest.raises(ValidationError) as caught:
        await desk.handler.merge("a-1", base=base, mine=mine)

    assert field in caught.value.errors
    assert (await desk.load_article()).version == 1


async def test_merge_requires_a_strategy() -> None:
    desk = Desk()
    await desk.add_article()

    with pytest.raises(ConfigError, match="strategy="):
        await desk.handler.merge("a-1", base={"title": ""}, mine={"title": "x"})


async def test_merge_into_an_event_sourced_aggregate_is_rejected() -> None:
    events = InMemoryEventStore()
    parcels = EventSourcedRepository[Parcel, str](Parcel)
    handler = AggregateUpdater(
        parcels, uow_factory=lambda: InMemoryUnitOfWork(events), strategy=MERGING
    )
    async with InMemoryUnitOfWork(events) as uow:
        await parcels.add(Parcel.register("p-1", "anna"), uow)

    with pytest.raises(InvalidOperationError, match="keeps events"):
        await handler.merge("p-1", base={"note": None}, mine={"note": "x"})


# States that JSON would change.


class Masked(AggregateRoot[str]):
    password: SecretStr = SecretStr("x")


class Shape(BaseModel):
    sides: int = 0


class Square(Shape):
    width: int = 1


class Drawing(AggregateRoot[str]):
    shape: Shape = Shape()


@pytest.mark.parametrize(
    ("aggregate", "error", "message"),
    [
        (Masked(id="1"), ConfigError, "password"),
        (Drawing(id="1", shape=Square()), SerializationError, "JSON does not keep Drawing.shape"),
    ],
)
async def test_update_rejects_merging_a_state_that_json_would_change(
    aggregate: AggregateRoot[str], error: type[Exception], message: str
) -> None:
    repository = InMemoryRepository[Any, str](type(aggregate))
    await repository.add(aggregate)
    handler = AggregateUpdater(repository, uow_factory=InMemoryUnitOfWork, strategy=MERGING)

    with pytest.raises(error, match=message):
        await handler.update("1", lambda each: None)

    without = AggregateUpdater(repository, uow_factory=InMemoryUnitOfWork)
    await without.update("1", lambda each: None)
