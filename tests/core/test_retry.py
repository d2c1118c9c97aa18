from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqrs_ddd_core.primitives.exceptions import (
    BusinessRuleError,
    ConfigError,
    OptimisticConcurrencyError,
    PermanentCommandError,
)
from cqrs_ddd_core.primitives.retry import (
    ExponentialBackoffPolicy,
    FixedRetryPolicy,
    NoRetry,
    RetryPolicy,
    ScheduleRetryPolicy,
)

CONFLICT = OptimisticConcurrencyError("again")


def test_retry_policy_ends_after_max_attempts() -> None:
    policy = RetryPolicy(max_attempts=3)

    assert [policy.should_retry(attempt, CONFLICT) for attempt in (1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]
    assert policy.get_backoff(1) == 0


@pytest.mark.parametrize("error", [BusinessRuleError("no"), PermanentCommandError("never")])
def test_retry_policy_does_not_retry_business_and_permanent_errors(error: Exception) -> None:
    assert not RetryPolicy(max_attempts=9).should_retry(1, error)


def test_no_retry_policy_allows_one_attempt() -> None:
    assert not NoRetry().should_retry(1, CONFLICT)


def test_fixed_retry_policy_keeps_its_delay() -> None:
    policy = FixedRetryPolicy(delay=2.5)

    assert [policy.get_backoff(attempt) for attempt in (1, 2, 9)] == [2.5, 2.5, 2.5]


def test_schedule_retry_policy_repeats_its_last_delay() -> None:
    policy = ScheduleRetryPolicy(schedule=(1, 5, 30))

    assert [policy.get_backoff(attempt) for attempt in (0, 1, 2, 3, 4, 99)] == [1, 1, 5, 30, 30, 30]


@given(
    attempt=st.integers(1, 10**6),
    base=st.floats(0, 100),
    multiplier=st.floats(1, 10),
    maximum=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_exponential_backoff_stays_within_its_bounds(
    attempt: int, base: float, multiplier: float, maximum: float, jitter: float, chance: float
) -> None:
    policy = ExponentialBackoffPolicy(
        base=base,
        multiplier=multiplier,
        maximum=maximum,
        jitter=jitter,
        random=lambda: chance,
    )

    delay = policy.get_backoff(attempt)

    assert 0 <= delay <= maximum * (1 + 1e-9)


def test_exponential_backoff_grows_to_its_maximum() -> None:
    policy = ExponentialBackoffPolicy(base=1, multiplier=2, maximum=5, jitter=0)

    assert [policy.get_backoff(attempt) for attempt in (1, 2, 3, 4, 10**6)] == [1, 2, 4, 5, 5]


def test_jitter_randomises_its_share_of_the_backoff() -> None:
    delays = [
        ExponentialBackoffPolicy(base=8, jitter=0.25, random=lambda c=c: c).get_backoff(1)  # type: ignore[misc]
        for c in (0.0, 0.5)
    ]

    assert delays == [6.0, 7.0]


def test_exponential_backoff_gives_callers_different_delays() -> None:
    policy = ExponentialBackoffPolicy()

    assert len({policy.get_backoff(5) for _ in range(50)}) > 40


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        (RetryPolicy, {"max_attempts": 0}, "max_attempts must be at least 1, got 0"),
        (FixedRetryPolicy, {"delay": -1}, "delay must not be negative, got -1"),
        (FixedRetryPolicy, {"delay": float("nan")}, "delay must not be negative"),
        (ScheduleRetryPolicy, {"schedule": ()}, "schedule is empty"),
        (ScheduleRetryPolicy, {"schedule": (1, -1)}, "schedule must not be negative"),
        (ExponentialBackoffPolicy, {"multiplier": 0.5}, "multiplier must be at least 1, got 0.5"),
        (ExponentialBackoffPolicy, {"jitter": 2}, "jitter must be between 0 and 1, got 2"),
        (ExponentialBackoffPolicy, {"maximum": -1}, "maximum must not be negative, got -1"),
    ],
)
def test_retry_policy_rejects_invalid_settings(policy: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy(**arguments)
