"""Errors of conflicts: another transaction, task or process was faster."""

from __future__ import annotations

from .base import CQRSDDDError, ErrorClass

_RELOAD = "reload it and retry the command"


class ConcurrencyError(CQRSDDDError):
    """Another writer was faster; a retry on fresh state may succeed."""

    @classmethod
    def changed_concurrently(cls, subject: str) -> ConcurrencyError:
        """Build the error for a ``subject`` that another transaction changed first."""
        return cls(f"{subject} was changed by another transaction; {_RELOAD}")


class OptimisticConcurrencyError(ConcurrencyError):
    """The stored version is not the expected version.

    Attributes:
        subject: stream or aggregate with the conflict.
        expected: version that the caller expected.
        actual: stored version, or None if nothing is stored.
    """

    def __init__(
        self,
        message: str = "",
        *,
        subject: str = "",
        expected: object = None,
        actual: int | None = None,
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.expected = expected
        self.actual = actual

    @classmethod
    def version_taken(cls, stream: str, version: int, actual: int) -> OptimisticConcurrencyError:
        """Build the error for an event whose stream is at ``actual``, not below ``version``."""
        return cls(
            f"cannot append version {version} of {stream}, which is at version {actual}; {_RELOAD}",
            subject=stream,
            expected=version - 1,
            actual=actual,
        )

    @classmethod
    def stale_version(
        cls,
        aggregate: str,
        expected: int,
        actual: int | None,
        *,
        was_absent: bool = False,
        is_new: bool | None = None,
    ) -> OptimisticConcurrencyError:
        """Build the error for the save of an aggregate that was loaded at another version.

        For a new aggregate, it is an ``AlreadyExistsError`` unless another writer may have been
        faster.

        Args:
            aggregate: type and id.
            expected: version of the aggregate, 0 for a new one.
            actual: stored version, or None if no row is seen. A hidden row, for example of another
                tenant, can have the id of a new aggregate.
            was_absent: True if the transaction looked for the id before, and found nothing.
            is_new: whether the aggregate is new; None if version 0 means that.
        """
        is_new = not expected if is_new is None else is_new
        if is_new and not (was_absent and actual):
            return AlreadyExistsError.id_taken(aggregate, actual)
        if is_new:
            problem = f"did not exist when it was looked up, but version {actual} is stored now"
        elif actual is not None:
            problem = f"was loaded at version {expected}, but version {actual} is stored"
        else:
            problem = f"was loaded at version {expected}, but nothing is stored"
        return cls(
            f"{aggregate} {problem}; {_RELOAD}",
            subject=aggregate,
            expected=expected,
            actual=actual,
        )


class AlreadyExistsError(OptimisticConcurrencyError):
    """A new aggregate has the id of a stored one; a retry does not help.

    If the transaction looked for the id before and found nothing, another writer was faster: that
    is an ``OptimisticConcurrencyError``, and a retry finds the stored aggregate.
    """

    error_class = ErrorClass.BUSINESS

    @classmethod
    def id_taken(cls, aggregate: str, actual: int | None) -> AlreadyExistsError:
        """Build the error for a new aggregate; ``actual`` is None for a row that is not visible."""
        place = "where it is not visible here" if actual is None else f"at version {actual}"
        return cls(
            f"{aggregate} exists already, {place}; load it, or give the new one an id of its own",
            subject=aggregate,
            expected=0,
            actual=actual,
        )


class LockAcquisitionError(ConcurrencyError):
    """The lock was not granted in time.

    Attributes:
        resource: name of the resource.
        timeout: seconds that the caller waited, or None.
    """

    def __init__(
        self, message: str = "", *, resource: str = "", timeout: float | None = None
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.timeout = timeout

    @classmethod
    def not_free(cls, resource: str, timeout: float) -> LockAcquisitionError:
        """Build the error for a ``resource`` that was locked for the whole ``timeout``."""
        return cls(
            f"{resource} was not free within {timeout} s; try again, or wait longer",
            resource=resource,
            timeout=timeout,
        )


class LeaseLostError(ConcurrencyError):
    """The caller no longer holds a lock or a lease: it expired, or it has another holder.

    Attributes:
        resource: name of the resource, or key of the lease.
    """

    def __init__(self, message: str = "", *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource

    @classmethod
    def not_released(cls, resource: str, reason: str) -> LeaseLostError:
        """Build the error for a lock that the caller cannot release."""
        return cls(f"cannot release {resource}: {reason}", resource=resource)

    @classmethod
    def lease_ended(cls, kind: str, resource: str, epoch: int) -> LeaseLostError:
        """Build the error for a lease that ended, or with an ``epoch`` that is not the last."""
        return cls(
            f"the lease of {kind} {resource} (epoch {epoch}) has ended: it expired, was released, "
            "or a later claim replaced it; claim it again",
            resource=resource,
        )
