"""Wrong locks on several servers, each caught by a test of the kit."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_redis import RedlockLockStrategy
from cqrs_ddd_redis.locking.server_pool import QuorumReply
from tests.redis.redlock_kit import RedlockKit, Troubled


class CountsAnyYes(RedlockLockStrategy):
    """Wrong variant: a single server is enough."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._servers.majority = 1


class IgnoresElapsedTime(RedlockLockStrategy):
    """Wrong variant: ignores the duration of the requests."""

    def _validity(self, ttl: float) -> float:
        return math.inf


class ReleasesConfirmedGrantsOnly(RedlockLockStrategy):
    """Wrong variant: a server without a reply has not granted the lock."""

    def _may_have_granted(self, answers: QuorumReply) -> bool:
        return any(value is not None and value > 0 for value in answers.values)


class TokenOfTheFirstServer(RedlockLockStrategy):
    """Wrong variant: any server knows the last token."""

    def _choose_token(self, tokens: Sequence[int]) -> int:
        return tokens[0]


class WritesNothingBack(RedlockLockStrategy):
    """Wrong variant: leaves the largest token on one server."""

    async def _raise_tokens(self, *_: object) -> bool:
        return True


class CountsFromOne(RedlockLockStrategy):
    """Wrong variant: its servers never lose data."""

    def _propose_token(self) -> int:
        return 1


class OneOwnerForAllRounds(RedlockLockStrategy):
    """Wrong variant: a late release of the first round ends the second."""

    async def _request(self, bid: Any, *channel: str) -> Any:
        bid.rounds = 0
        return await super()._request(bid, *channel)


KIT = RedlockKit()

MUTANTS: list[tuple[type[RedlockLockStrategy], Callable[..., Coroutine[Any, Any, None]]]] = [
    (CountsAnyYes, KIT.test_redlock_is_not_granted_by_a_minority_of_the_servers),
    (IgnoresElapsedTime, KIT.test_redlock_releases_a_grant_that_took_longer_than_its_ttl),
    (
        ReleasesConfirmedGrantsOnly,
        KIT.test_redlock_releases_a_possible_grant_of_a_server_without_a_reply,
    ),
    (
        TokenOfTheFirstServer,
        KIT.test_redlock_fencing_token_is_larger_than_the_tokens_of_all_servers,
    ),
    (WritesNothingBack, KIT.test_majority_stores_the_fencing_token_before_redlock_grants_it),
    (WritesNothingBack, KIT.test_redlock_fencing_tokens_increase_with_any_server_unreachable),
    (CountsFromOne, KIT.test_redlock_fencing_tokens_increase_after_every_server_lost_its_data),
    (OneOwnerForAllRounds, KIT.test_late_release_of_redlock_does_not_end_a_newer_grant),
]


@pytest.mark.parametrize(("mutant", "sentence"), MUTANTS, ids=lambda part: part.__name__[:60])
async def test_redlock_check_catches_each_wrong_redlock(
    mutant: type[RedlockLockStrategy],
    sentence: Callable[..., Coroutine[Any, Any, None]],
    clients: list[Redis],
    troubled_clients: list[Troubled],
) -> None:
    fixtures = {
        "clients": clients,
        "troubled_clients": troubled_clients,
        "new_lock": partial(mutant, namespace="shop"),
    }
    wanted = inspect.signature(sentence).parameters

    with pytest.raises(AssertionError):
        await sentence(**{name: fixtures[name] for name in wanted})
