"""Contract of heartbeat stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ...ports import Heartbeat, IHeartbeatStore, StoredHeartbeat, UnitOfWork
from ...primitives.exceptions import InvalidOperationError, SerializationError
from ..assertions import UNSTORABLE_IDS, raises

NewUnitOfWork = Callable[[], UnitOfWork]


class HeartbeatStoreContract:
    """Contract of ``IHeartbeatStore``.

    Fixtures:
        heartbeats: The store under test, empty.
        new_uow: Returns a new unit of work for the store.
    """

    async def test_heartbeat_is_read_back_with_every_field_unchanged(
        self, heartbeats: IHeartbeatStore
    ) -> None:
        at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
        given = [
            make_heartbeat("relay", "a", host="naïve ☃ (17)", state="failing", restarts=3),
            make_heartbeat("relay", "b", started_at=at, error_type="ConnectionError"),
            make_heartbeat("worker", "a"),
        ]

        await heartbeats.beat(given[::-1])

        assert _drop_times(await heartbeats.list_heartbeats()) == given

    async def test_heartbeat_replaces_the_last_one_of_its_service_and_instance(
        self, heartbeats: IHeartbeatStore
    ) -> None:
        other, another = make_heartbeat("relay", "b"), make_heartbeat("worker", "a")
        await heartbeats.beat([make_heartbeat("relay", "a", error_type="OSError"), other, another])

        again = make_heartbeat("relay", "a", state="stopped", restarts=1)
        await heartbeats.beat([again])

        assert _drop_times(await heartbeats.list_heartbeats()) == [again, other, another]

    async def test_age_of_a_heartbeat_is_measured_by_the_clock_of_the_store(
        self, heartbeats: IHeartbeatStore
    ) -> None:
        century = timedelta(days=36525)
        for started_at in (datetime.now(timezone.utc) + sign * century for sign in (-1, 1)):
            await heartbeats.beat([make_heartbeat("relay", "a", started_at=started_at)])
            (first,) = await heartbeats.list_heartbeats()
            await heartbeats.beat([make_heartbeat("relay", "a", started_at=started_at)])
            (second,) = await heartbeats.list_heartbeats()

            assert first.beat_at.utcoffset() == timedelta(0)
            assert first.beat_at <= second.beat_at
            assert 0 <= second.age_seconds < timedelta(days=1).total_seconds()

    async def test_removed_instance_has_no_heartbeats(self, heartbeats: IHeartbeatStore) -> None:
        other = make_heartbeat("relay", "b")
        await heartbeats.beat([make_heartbeat("relay", "a"), make_heartbeat("worker", "a"), other])

        await heartbeats.remove("a")
        await heartbeats.remove("a")

        assert _drop_times(await heartbeats.list_heartbeats()) == [other]

    async def test_purge_of_heartbeats_deletes_those_of_an_age_only(
        self, heartbeats: IHeartbeatStore
    ) -> None:
        old = datetime(2001, 1, 1, tzinfo=timezone.utc)
        given = [make_heartbeat("relay", each, started_at=old) for each in ("a", "b")]
        await heartbeats.beat(given)

        assert await heartbeats.purge(timedelta(days=1).total_seconds()) == 0
        assert await heartbeats.purge(0) == 2
        assert await heartbeats.list_heartbeats() == []

        await heartbeats.beat(given)
        assert _drop_times(await heartbeats.list_heartbeats()) == given

    async def test_heartbeat_is_visible_before_the_unit_of_work_ends(
        self, heartbeats: IHeartbeatStore, new_uow: NewUnitOfWork
    ) -> None:
        given = [make_heartbeat("relay", "a")]

        async with new_uow() as uow:
            await heartbeats.beat(given)
            assert _drop_times(await heartbeats.list_heartbeats()) == given
            await uow.rollback()

        assert _drop_times(await heartbeats.list_heartbeats()) == given

    async def test_concurrent_heartbeats_are_all_stored(self, heartbeats: IHeartbeatStore) -> None:
        instances = [f"instance {number:02}" for number in range(20)]

        await asyncio.gather(
            *(
                heartbeats.beat([make_heartbeat(service, each) for service in services])
                for each in instances
                for services in (("relay", "worker"), ("worker", "relay"))
            )
        )

        found = await heartbeats.list_heartbeats()
        assert [each.instance_id for each in found] == instances * 2

    async def test_beat_without_services_stores_nothing(self, heartbeats: IHeartbeatStore) -> None:
        await heartbeats.beat([])

        assert await heartbeats.list_heartbeats() == []

    async def test_heartbeat_with_an_unstorable_id_or_the_text_of_an_error_is_rejected(
        self, heartbeats: IHeartbeatStore
    ) -> None:
        # The constructor raises, so such a heartbeat never reaches a store.
        for bad in UNSTORABLE_IDS:
            with raises(SerializationError):
                await heartbeats.beat([make_heartbeat(bad, "a")])
            with raises(SerializationError):
                await heartbeats.beat([make_heartbeat("relay", bad)])
        with raises(InvalidOperationError) as caught:
            await heartbeats.beat([make_heartbeat("relay", "a", error_type="input_value='Ann'")])

        assert "Ann" not in str(caught.error)
        assert await heartbeats.list_heartbeats() == []


def make_heartbeat(service: str, instance_id: str, **fields: Any) -> Heartbeat:
    """Return a heartbeat.

    Args:
        service: Name of the service.
        instance_id: Id of the process.
        fields: Fields of ``Heartbeat`` that replace the defaults.
    """
    facts: dict[str, Any] = {
        "host": "host (1)",
        "state": "running",
        "started_at": datetime(2026, 1, 1, tzinfo=timezone.utc),
        **fields,
    }
    return Heartbeat(service=service, instance_id=instance_id, **facts)


def _drop_times(stored: Sequence[StoredHeartbeat]) -> list[Heartbeat]:
    names = Heartbeat.__dataclass_fields__
    return [Heartbeat(**{name: getattr(each, name) for name in names}) for each in stored]
