"""Answers to errors, as problem documents (RFC 9457), for any web framework."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import BaseModel

from cqrs_ddd_core import OutageLog, correlation_scope
from cqrs_ddd_core.primitives.exceptions import (
    AmbiguousStreamError,
    CommandTimeoutError,
    CommitOutcomeUnknownError,
    ConcealedError,
    ConcurrencyError,
    ConstraintViolationError,
    CorruptHierarchyError,
    DomainError,
    DuplicateCommandError,
    DuplicateEventError,
    DuplicateKeyError,
    EventApplicationError,
    ImmutableObjectError,
    InfrastructureError,
    InvalidDataError,
    LeaseLostError,
    LockAcquisitionError,
    MissingIdentityError,
    NotFoundError,
    PositionTimeoutError,
    SerializationError,
    TransientCommandError,
    ValidationError,
    describe_error,
)

logger = logging.getLogger(__name__)
outages = OutageLog(logger)

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Problem document for a client; ``errors`` maps each field to its errors."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str
    correlation_id: str
    errors: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True)
class Answer:
    """Response to an error; without a ``detail`` the message of the error is used."""

    status: int
    type: str
    title: str
    detail: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


_SOON = {"Retry-After": "1"}
INVALID = Answer(422, "/problems/invalid", "The request is not valid")
_CONFLICT = Answer(
    409,
    "/problems/conflict",
    "Changed by another request",
    "It was changed after it was loaded; reload it and retry.",
)
_BUSY = Answer(503, "/problems/busy", "Busy", "Another request is changing it; retry.", _SOON)
_UNAVAILABLE = Answer(
    503, "/problems/unavailable", "Not available", "A service is unavailable; retry.", _SOON
)
_FAULT = Answer(
    500, "/problems/fault", "Internal error", "Report the correlation id to the operator."
)

ANSWERS: Mapping[type[Exception], Answer] = {
    ValidationError: INVALID,
    NotFoundError: Answer(404, "/problems/not-found", "It does not exist"),
    DomainError: Answer(409, "/problems/rejected", "A business rule was broken"),
    DuplicateCommandError: Answer(
        422,
        "/problems/key-in-use",
        "The Idempotency-Key was used before",
        "Another request was sent with this key; use a new key.",
    ),
    ConcurrencyError: _CONFLICT,
    LockAcquisitionError: _BUSY,
    LeaseLostError: _BUSY,
    CommandTimeoutError: _BUSY,
    TransientCommandError: _UNAVAILABLE,
    InfrastructureError: _UNAVAILABLE,
    PositionTimeoutError: Answer(
        503,
        "/problems/behind",
        "Not up to date yet",
        "Your change is stored, but the list does not contain it yet; retry.",
        _SOON,
    ),
    CommitOutcomeUnknownError: Answer(
        503,
        "/problems/outcome-unknown",
        "Outcome unknown",
        "Retry with the same Idempotency-Key; without a key, check the state first.",
        _SOON,
    ),
    DuplicateKeyError: Answer(
        409, "/problems/taken", "Taken", "A value that must be unique is already used."
    ),
    ConstraintViolationError: Answer(
        409, "/problems/constraint", "Not possible", "Other stored data does not allow this change."
    ),
    InvalidDataError: Answer(
        422, "/problems/invalid", INVALID.title, "A value is too long or out of range."
    ),
    # A retry would fail again, and the client cannot correct the cause.
    ImmutableObjectError: _FAULT,
    MissingIdentityError: _FAULT,
    EventApplicationError: _FAULT,
    CorruptHierarchyError: _FAULT,
    SerializationError: _FAULT,
    DuplicateEventError: _FAULT,
    AmbiguousStreamError: _FAULT,
    Exception: _FAULT,
}
"""Answers by error class; a subclass that is not listed has the answer of its nearest base."""


def find_answer(error: Exception) -> Answer:
    """Return the answer to the nearest base class of the error."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def describe_problem(
    error: Exception,
    answer: Answer,
    *,
    method: str,
    path: str,
    correlation_id: str,
    errors: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the JSON of the problem document of an error, and log an internal error.

    A transient error is one line without a traceback.

    Args:
        error: the error.
        answer: the answer to the error.
        method: method of the request.
        path: path of the request.
        correlation_id: correlation id of the request.
        errors: errors of the request by field, without the invalid values.
    """
    problem = Problem(
        type=answer.type,
        title=answer.title,
        status=answer.status,
        detail=answer.detail or str(error) or None,
        instance=quote(path),
        correlation_id=correlation_id,
        errors=error.errors if isinstance(error, ValidationError) else errors,
    )
    if answer.status >= 500:
        # A framework may handle errors outside the middlewares, so the scope is set again.
        with correlation_scope(correlation_id):
            if answer.status == 503:
                outages.log(error, "%s %s: %s", method, problem.instance, describe_error(error))
            else:
                shown = ConcealedError(error)
                logger.error("%s %s: %s", method, problem.instance, shown, exc_info=shown)
    return problem.model_dump_json(exclude_none=True)
