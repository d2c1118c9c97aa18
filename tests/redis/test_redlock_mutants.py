"""Naive locks on several servers, each caught by a test of the kit."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from cqrs_ddd_redis import RedlockLockStrategy
from cqrs_ddd_redis.locking.server_pool import QuorumReply
from tests.redis.redlock_kit import RedlockKit, Troubled


class CountsAnyYes(RedlockLockStrategy):
    """Naive: a single server is enough."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._servers.majority = 1


class IgnoresElapsedTime(RedlockLockStrategy):
    """Naive: ignores the duration of the requests."""

    def _validity(self, ttl: float) -> float:
        return math.inf


class ReleasesConfirmedGrantsOnly(RedlockLockStrategy):
    """Naive: a server without a reply has not granted the lock."""

    def _may_have_granted(self, answers: QuorumReply) -> bool:
        return any(value is not None and value > 0 for value in answers.values)


class TokenOfTheFirstServer(RedlockLockStrategy):
    """Naive: any server knows the last token."""

    def _choose_token(self, tokens: Sequence[int]) -> int:
        return tokens[0]


class WritesNothingBack(RedlockLockStrategy):
    """Naive: leaves the largest token on one server."""

    async def _raise_tokens(self, *_: object) -> bool:
        return True


class CountsFromOne(RedlockLockStrategy):
    """Naive: its servers never lose data."""

    def _propose_token(self) -> int:
        return 1


class OneOwnerForAllRounds(RedlockLockStrategy):
    """Naive: a late release of the first round ends the second."""

    async def _request(self, bid: Any, *channel: str) -> Any:
        bid.rounds = 0
        return await super()._request(bid, *channel)


KIT = RedlockKit()

MUTANTS: list[tuple[type[RedlockLockStrategy], Callable[..., Coroutine[Any, Any, None]]]] = [
    (CountsAnyYes, KIT.test_a_minority_of_the_servers_is_not_enough),
    (IgnoresElapsedTime, KIT.test_grant_that_comes_after_its_ttl_is_released),
    (ReleasesConfirmedGrantsOnly, KIT.test_possible_grant_without_a_reply_is_released),
    (TokenOfTheFirstServer, KIT.test_token_is_the_largest_of_all_servers),
    (WritesNothingBack, KIT.test_a_majority_knows_the_token_before_it_is_granted),
    (WritesNothingBack, KIT.test_tokens_grow_with_any_server_away_and_any_token_ahead),
    (CountsFromOne, KIT.test_tokens_grow_when_every_server_has_forgotten_them),
    (OneOwnerForAllRounds, KIT.test_late_release_does_not_end_a_newer_grant),
]


@pytest.mark.parametrize(("mutant", "sentence"), MUTANTS, ids=lambda part: part.__name__[:60])
async def test_naive_lock_is_caught(
    mutant: type[RedlockLockStrategy],
    sentence: Callable[..., Coroutine[Any, Any, None]],
    clients: list[Redis],
    troubled: list[Troubled],
) -> None:
    fixtures = {"clients": clients, "troubled": troubled, "new_lock": mutant}
    wanted = inspect.signature(sentence).parameters

    with pytest.raises(AssertionError):
        await sentence(**{name: fixtures[name] for name in wanted})
