"""How often to try again, and how long to wait before.

Jitter follows "Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015): callers
that failed together must not come back together.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .exceptions import ConfigError, ErrorClass, classify_error


@dataclass(frozen=True)
class RetryPolicy:
    """Tries at most ``max_attempts`` times, without waiting; errors of the domain end it at once.

    ``attempt`` counts from 1: the number of tries made so far.
    """

    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigError(f"max_attempts must be at least 1, got {self.max_attempts}")

    def should_retry(self, attempt: int, error: BaseException) -> bool:
        """Whether to try again after ``attempt`` tries, the last of which raised ``error``."""
        return attempt < self.max_attempts and classify_error(error) is ErrorClass.TRANSIENT

    def get_backoff(self, attempt: int) -> float:
        """Seconds to wait after try number ``attempt``."""
        return 0.0


@dataclass(frozen=True)
class NoRetry(RetryPolicy):
    """The first error is the last."""

    max_attempts: int = field(default=1, init=False)


@dataclass(frozen=True)
class FixedRetryPolicy(RetryPolicy):
    """Waits the same time, in seconds, after each try."""

    delay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _ensure_not_negative("delay", self.delay)

    def get_backoff(self, attempt: int) -> float:
        return self.delay


@dataclass(frozen=True)
class ScheduleRetryPolicy(RetryPolicy):
    """Waits as the schedule says, in seconds; its last entry repeats."""

    schedule: Sequence[float] = (10.0, 60.0, 300.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.schedule:
            raise ConfigError(
                "schedule is empty; give at least one delay in seconds, or use NoRetry"
            )
        for delay in self.schedule:
            _ensure_not_negative("schedule", delay)

    def get_backoff(self, attempt: int) -> float:
        return self.schedule[min(max(attempt, 1), len(self.schedule)) - 1]


@dataclass(frozen=True)
class ExponentialBackoffPolicy(RetryPolicy):
    """Waits ``base * multiplier ** (attempt - 1)`` seconds, at most ``maximum``.

    ``jitter`` is the share of that time drawn at random: 1.0 is full jitter, 0.0 none.
    ``random`` is the source of chance, a value in [0, 1); tests pass their own.
    """

    base: float = 0.1
    multiplier: float = 2.0
    maximum: float = 30.0
    jitter: float = 1.0
    random: Callable[[], float] = field(default=random.random, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ensure_not_negative("base", self.base)
        _ensure_not_negative("maximum", self.maximum)
        if self.multiplier < 1:
            raise ConfigError(f"multiplier must be at least 1, got {self.multiplier}")
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"jitter must be between 0 and 1, got {self.jitter}")

    def get_backoff(self, attempt: int) -> float:
        ceiling = self._compute_ceiling(attempt)
        return ceiling * (1 - self.jitter) + ceiling * self.jitter * self.random()

    def _compute_ceiling(self, attempt: int) -> float:
        try:
            return min(self.maximum, self.base * self.multiplier ** (max(attempt, 1) - 1))
        except OverflowError:
            return self.maximum


def _ensure_not_negative(name: str, seconds: float) -> None:
    if not seconds >= 0:
        raise ConfigError(f"{name} must not be negative, got {seconds}")
