"""One aggregate, changed without a mediator."""

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
    """A handler over one table, and the rivals who are faster."""

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

    async def an_article(self, **fields: Any) -> Article:
        article = Article(id="a-1", **fields)
        await self.articles.add(article)
        return article

    async def stored(self) -> Article:
        found = await self.articles.get("a-1")
        assert found is not None
        return found

    def _new_uow(self) -> InMemoryUnitOfWork:
        desk = self

        class Overtaken(InMemoryUnitOfWork):
            async def commit(self) -> None:
                if desk.rivals:
                    change = desk.rivals.pop(0)
                    async with InMemoryUnitOfWork() as other:
                        article = await desk.articles.get("a-1", other)
                        assert article is not None
                        change(article)
                        await desk.articles.add(article, other)
                await super().commit()

        self.units.append(Overtaken())
        return self.units[-1]


def sets(**fields: Any) -> Callable[[Article], None]:
    def change(article: Article) -> None:
        for name, value in fields.items():
            setattr(article, name, value)

    return change


async def test_it_stores_what_was_decided_and_answers() -> None:
    desk = Desk()
    await desk.an_article(title="old")

    def decide(article: Article) -> str:
        before, article.title = article.title, "new"
        return before

    assert await desk.handler.update("a-1", decide) == "old"
    assert (await desk.stored()).title == "new"
    assert (await desk.stored()).version == 2


async def test_after_a_conflict_it_decides_again_on_a_clean_and_fresh_aggregate() -> None:
    desk = Desk()
    await desk.an_article(tags=["a"])
    desk.rivals = [sets(text="theirs"), sets(title="theirs")]
    seen = []

    def decide(article: Article) -> None:
        seen.append((article.title, article.text, list(article.tags), article.version))
        article.tags.append("mine")

    await desk.handler.update("a-1", decide)

    assert seen == [("", "", ["a"], 1), ("", "theirs", ["a"], 2), ("theirs", "theirs", ["a"], 3)]
    assert (await desk.stored()).tags == ["a", "mine"]
    assert len(desk.units) == 3


async def test_with_a_strategy_the_change_is_merged_and_decided_only_once() -> None:
    desk = Desk(MERGING)
    await desk.an_article(tags=["a", "b"])
    desk.rivals = [
        sets(tags=["b", "theirs"], text="theirs"),
        lambda article: setattr(article.size, "width", Decimal("2.50")),
    ]
    decided = []

    def decide(article: Article) -> str:
        decided.append(article.version)
        article.tags.append("mine")
        article.title = "mine"
        article.size.height = Decimal("7.00")
        return "answer"

    answer = await desk.handler.update("a-1", decide)

    stored = await desk.stored()
    assert (answer, decided) == ("answer", [1])
    assert (stored.title, stored.text, stored.tags) == ("mine", "theirs", ["b", "theirs", "mine"])
    assert stored.size == Size(width=Decimal("2.50"), height=Decimal("7.00"))
    assert stored.version == 4


class MergesWithoutBase(AggregateUpdater[Article, str]):
    """Takes what is stored now for what the change was made of."""

    async def _merge(
        self, entity_id: str, base: Mapping[str, Any], mine: Mapping[str, Any], uow: UnitOfWork
    ) -> Article:
        stored = (await self._load(entity_id, uow)).model_dump(mode="json")
        return await super()._merge(entity_id, stored, mine, uow)


async def test_naive_merge_without_a_base_undoes_their_change() -> None:
    texts = []
    for kind in (MergesWithoutBase, AggregateUpdater[Article, str]):
        desk = Desk()
        await desk.an_article()
        desk.rivals = [sets(text="theirs")]
        handler = kind(desk.articles, uow_factory=desk._new_uow, strategy=MERGING)
        await handler.update("a-1", sets(title="mine"))
        texts.append((await desk.stored()).text)

    assert texts == ["", "theirs"]


async def test_conflict_names_the_path_and_keeps_the_stored_value() -> None:
    desk = Desk(MERGING)
    await desk.an_article()
    desk.rivals = [sets(title="theirs", size=Size(width=Decimal(3), height=Decimal(1)))]

    with pytest.raises(MergeConflictError) as caught:
        await desk.handler.update(
            "a-1", sets(title="mine", size=Size(width=Decimal(4), height=Decimal(1)))
        )

    assert caught.value.fields == ("title", "size.width")
    assert (await desk.stored()).title == "theirs"
    assert not any(unit.is_open for unit in desk.units)


async def test_recorded_events_are_never_merged_but_decided_again() -> None:
    desk = Desk(FieldLevelMergeStrategy(default=LastWinsStrategy()))
    await desk.an_article(title="old")
    desk.rivals = [sets(title="theirs")]

    await desk.handler.update("a-1", lambda article: article.rename(f"{article.title}+"))

    stored = await desk.stored()
    assert (stored.title, stored.version) == ("theirs+", 3)


async def test_a_merge_that_leaves_theirs_as_it_is_stores_nothing() -> None:
    desk = Desk(MERGING)
    await desk.an_article()
    desk.rivals = [sets(title="both")]

    await desk.handler.update("a-1", sets(title="both"))

    assert (await desk.stored()).version == 2


async def test_it_gives_up_with_the_last_conflict() -> None:
    for strategy in (None, MERGING):
        desk = Desk(strategy, max_attempts=3)
        await desk.an_article()
        desk.rivals = [sets(text=str(number)) for number in range(9)]

        with pytest.raises(OptimisticConcurrencyError) as caught:
            await desk.handler.update("a-1", sets(title="mine"))

        assert len(desk.units) == 3
        assert (caught.value.expected, caught.value.actual) == (3, 4)


async def test_each_wait_is_told_to_the_hooks() -> None:
    desk = Desk()
    await desk.an_article()
    desk.rivals = [sets(text="theirs")]
    told: list[Operation] = []

    def watch(operation: Operation) -> AbstractContextManager[None]:
        told.append(operation)
        return nullcontext()

    remove = hooks.register(watch, operations="conflict.*")
    try:
        await desk.handler.update("a-1", sets(title="mine"))
    finally:
        remove()

    (operation,) = told
    assert operation.name == "conflict.retry"
    assert operation.attributes == {
        "attempt": 1,
        "error": "OptimisticConcurrencyError",
        "subject": "InMemoryRepository",
        "subject_id": "a-1",
    }


async def test_other_errors_go_up_at_once() -> None:
    desk = Desk()
    await desk.an_article()

    def decide(article: Article) -> None:
        raise LockAcquisitionError("taken")

    with pytest.raises(LockAcquisitionError):
        await desk.handler.update("a-1", decide)
    assert len(desk.units) == 1


async def test_missing_aggregate_cannot_be_updated() -> None:
    with pytest.raises(EntityNotFoundError) as caught:
        await Desk().handler.update("nobody", sets(title="x"))

    assert caught.value.entity_id == "nobody"


async def test_inside_an_open_unit_of_work_it_refuses_to_work() -> None:
    desk = Desk(MERGING)
    await desk.an_article()

    async with InMemoryUnitOfWork():
        with pytest.raises(InvalidOperationError, match="ConflictRetryMiddleware"):
            await desk.handler.update("a-1", sets(title="x"))
        with pytest.raises(InvalidOperationError, match="ConflictRetryMiddleware"):
            await desk.handler.merge("a-1", base={"title": ""}, mine={"title": "x"})

    assert desk.units == []


async def test_a_cancellation_while_it_waits_leaves_nothing_open() -> None:
    desk, clock = Desk(), FakeClock()
    await desk.an_article()
    desk.rivals = [sets(text="theirs")]
    handler = AggregateUpdater(
        desk.articles,
        uow_factory=desk._new_uow,
        retry=FixedRetryPolicy(delay=60.0),
        clock=clock,
    )
    waiting = asyncio.ensure_future(handler.update("a-1", sets(title="mine")))
    await clock.advance(1.0)
    for _ in range(200):
        await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait({waiting})
    await clock.advance(120.0)

    assert waiting.cancelled()
    assert [unit.is_open for unit in desk.units] == [False]
    assert (await desk.stored()).title == ""


@pytest.mark.parametrize("strategy", [None, MERGING])
async def test_a_cancellation_anywhere_leaves_all_or_nothing(strategy: Any) -> None:
    desk = Desk(strategy)

    async def work() -> None:
        desk.articles = InMemoryRepository(Article)
        desk.handler = AggregateUpdater(
            desk.articles, uow_factory=desk._new_uow, strategy=strategy, retry=RetryPolicy()
        )
        await desk.an_article()
        desk.rivals = [sets(text="theirs")]
        await desk.handler.update("a-1", sets(title="mine"))

    async def check() -> None:
        assert get_current_uow() is None
        assert not any(unit.is_open for unit in desk.units)
        found = await desk.articles.get("a-1")
        if found is not None:
            expected = [("", ""), ("", "theirs"), ("mine", "theirs")]
            assert (found.title, found.text) in expected

    assert await cancel_sweep(work, check) > 5


# A form that was open for a while.


async def test_an_edit_keeps_what_others_changed_since_the_form_was_shown() -> None:
    desk = Desk(MERGING)
    shown = (await desk.an_article(title="old", tags=["a"])).model_dump(mode="json")
    base = {name: shown[name] for name in ("title", "tags", "size", "published_at")}
    await desk.handler.update("a-1", sets(tags=["a", "b"], text="theirs"))
    desk.rivals = [sets(published_at=datetime(2026, 1, 1, tzinfo=timezone.utc))]

    answer = await desk.handler.merge(
        "a-1", base=base, mine={**base, "title": "mine", "size": {"width": "9.5", "height": "1.00"}}
    )

    stored = await desk.stored()
    assert (stored.title, stored.text, stored.tags) == ("mine", "theirs", ["a", "b"])
    assert stored.size.width == Decimal("9.5")
    assert stored.published_at is not None
    assert (answer.version, answer.title) == (stored.version, "mine")


async def test_an_edit_of_what_another_changed_is_a_conflict_for_the_user() -> None:
    desk = Desk(MERGING)
    await desk.an_article(title="old")
    await desk.handler.update("a-1", sets(title="theirs"))

    with pytest.raises(MergeConflictError) as caught:
        await desk.handler.merge("a-1", base={"title": "old"}, mine={"title": "mine"})

    assert caught.value.fields == ("title",)


async def test_an_edit_that_changes_nothing_stores_nothing() -> None:
    desk = Desk(MERGING)
    await desk.an_article(title="old")

    await desk.handler.merge("a-1", base={"title": "old"}, mine={"title": "old"})

    assert (await desk.stored()).version == 1


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
async def test_an_edit_that_the_aggregate_refuses_is_not_valid(
    base: dict[str, Any], mine: dict[str, Any], field: str
) -> None:
    desk = Desk(MERGING)
    await desk.an_article(title="old")

    with pytest.raises(ValidationError) as caught:
        await desk.handler.merge("a-1", base=base, mine=mine)

    assert field in caught.value.errors
    assert (await desk.stored()).version == 1


async def test_an_edit_needs_a_strategy() -> None:
    desk = Desk()
    await desk.an_article()

    with pytest.raises(ConfigError, match="strategy="):
        await desk.handler.merge("a-1", base={"title": ""}, mine={"title": "x"})


async def test_an_edit_of_what_is_kept_as_events_is_refused_instead_of_lost() -> None:
    events = InMemoryEventStore()
    parcels = EventSourcedRepository[Parcel, str](Parcel)
    handler = AggregateUpdater(
        parcels, uow_factory=lambda: InMemoryUnitOfWork(events), strategy=MERGING
    )
    async with InMemoryUnitOfWork(events) as uow:
        await parcels.add(Parcel.register("p-1", "anna"), uow)

    with pytest.raises(InvalidOperationError, match="keeps events"):
        await handler.merge("p-1", base={"note": None}, mine={"note": "x"})


# States that do not come back from JSON.


class Masked(AggregateRoot[str]):
    password: SecretStr = SecretStr("x")


class Shape(BaseModel):
    sides: int = 0


class Square(Shape):
    width: int = 1


class Drawing(AggregateRoot[str]):
    shape: Shape = Shape()


@pytest.mark.parametrize(
    ("aggregate", "error", "said"),
    [
        (Masked(id="1"), ConfigError, "password"),
        (Drawing(id="1", shape=Square()), SerializationError, "JSON changes its state"),
    ],
)
async def test_a_state_that_json_would_change_is_not_merged(
    aggregate: AggregateRoot[str], error: type[Exception], said: str
) -> None:
    repository = InMemoryRepository[Any, str](type(aggregate))
    await repository.add(aggregate)
    handler = AggregateUpdater(repository, uow_factory=InMemoryUnitOfWork, strategy=MERGING)

    with pytest.raises(error, match=said):
        await handler.update("1", lambda each: None)

    without = AggregateUpdater(repository, uow_factory=InMemoryUnitOfWork)
    await without.update("1", lambda each: None)
