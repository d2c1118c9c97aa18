"""Retry policies: the number of tries, and the time to wait between them.

Jitter follows "Exponential Backoff And Jitter" (M. Brooker, AWS Architecture Blog, 2015): callers
that failed together must not retry at the same time.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .exceptions import ConfigError, ErrorClass, classify_error


@dataclass(frozen=True)
class RetryPolicy:
    """Policy that retries transient errors without waiting; other errors are final.

    ``attempt`` is the number of tries so far, counted from 1.

    Attributes:
        max_attempts: largest number of tries, including the first.
    """

    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigError(f"max_attempts must be at least 1, got {self.max_attempts}")

    def should_retry(self, attempt: int, error: BaseException) -> bool:
        """Return whether to try again after ``attempt`` tries, the last of which failed."""
        return attempt < self.max_attempts and classify_error(error) is ErrorClass.TRANSIENT

    def get_backoff(self, attempt: int) -> float:
        """Return the seconds to wait after try number ``attempt``."""
        return 0.0


@dataclass(frozen=True)
class NoRetry(RetryPolicy):
    """Policy without retries: the first error is final."""

    max_attempts: int = field(default=1, init=False)


@dataclass(frozen=True)
class FixedRetryPolicy(RetryPolicy):
    """Policy that waits the same time after each try.

    Attributes:
        max_attempts: largest number of tries, including the first.
        delay: seconds to wait.
    """

    delay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _ensure_not_negative("delay", self.delay)

    def get_backoff(self, attempt: int) -> float:
        """Return ``delay``."""
        return self.delay


@dataclass(frozen=True)
class ScheduleRetryPolicy(RetryPolicy):
    """Policy that waits as a schedule defines.

    Attributes:
        max_attempts: largest number of tries, including the first.
        schedule: seconds to wait after each try; the last entry repeats.
    """

    schedule: Sequence[float] = (10.0, 60.0, 300.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.schedule:
            raise ConfigError(
                "schedule is empty; pass at least one delay in seconds, or use NoRetry"
            )
        for delay in self.schedule:
            _ensure_not_negative("schedule", delay)

    def get_backoff(self, attempt: int) -> float:
        """Return the entry for the try, or the last entry."""
        return self.schedule[min(max(attempt, 1), len(self.schedule)) - 1]


@dataclass(frozen=True)
class ExponentialBackoffPolicy(RetryPolicy):
    """Policy that waits ``base * multiplier ** (attempt - 1)`` seconds, at most ``maximum``.

    Attributes:
        max_attempts: largest number of tries, including the first.
        base: seconds to wait after the first try.
        multiplier: factor between two waits.
        maximum: longest wait in seconds.
        jitter: share of the wait that is drawn at random; 1.0 is full jitter, 0.0 is none.
        random: returns a random number in [0, 1); tests pass their own function.
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
        """Return the seconds to wait, of which the share ``jitter`` is random."""
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
