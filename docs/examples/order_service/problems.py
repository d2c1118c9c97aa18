"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cqrs_ddd_core import CQRSDDDError, correlation_scope
from cqrs_ddd_core.primitives.exceptions import (
    AmbiguousStreamError,
    CommitOutcomeUnknownError,
    ConcurrencyError,
    CorruptHierarchyError,
    DomainError,
    DuplicateCommandError,
    DuplicateEventError,
    DuplicateKeyError,
    EventApplicationError,
    ImmutableObjectError,
    InfrastructureError,
    LeaseLostError,
    LockAcquisitionError,
    MissingIdentityError,
    NotFoundError,
    PositionTimeoutError,
    SerializationError,
    TransientCommandError,
    ValidationError,
)

from .correlation import HEADER

logger = logging.getLogger(__name__)

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
_INVALID = Answer(422, "/problems/invalid", "The request is not valid")
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
    ValidationError: _INVALID,
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

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
"""Description of the problem documents for OpenAPI."""


def install(app: FastAPI) -> None:
    """Register one handler for all errors; it needs ``CorrelationMiddleware``."""
    for kind in (CQRSDDDError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the problem document of an error, and log internal errors."""
    answer = answer_to(error)
    problem = Problem(
        type=answer.type,
        title=answer.title,
        status=answer.status,
        detail=answer.detail or str(error) or None,
        instance=quote(request.url.path),
        correlation_id=request.state.correlation_id,
        errors=_list_findings(error),
    )
    if answer.status >= 500:
        # Starlette handles `Exception` outside the middlewares, so the scope is set again.
        with correlation_scope(problem.correlation_id):
            logger.error("%s %s: %r", request.method, problem.instance, error, exc_info=error)
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=answer.status,
        headers={**answer.headers, HEADER: problem.correlation_id},
        media_type=MEDIA_TYPE,
    )


def answer_to(error: Exception) -> Answer:
    """Return the answer to the nearest base class of the error."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        detail, headers = str(error.detail), error.headers or {}
        return Answer(error.status_code, "about:blank", phrase, detail, headers)
    if isinstance(error, RequestValidationError):
        # The message of the error contains a source file and the whole input.
        return replace(_INVALID, detail="The member errors lists the errors of each field.")
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def _list_findings(error: Exception) -> Mapping[str, Sequence[str]] | None:
    """Return the errors by field, without the invalid values."""
    if isinstance(error, ValidationError):
        return error.errors
    if not isinstance(error, RequestValidationError):
        return None
    findings: dict[str, list[str]] = {}
    for each in error.errors():  # Each also contains the input, which is not returned.
        findings.setdefault(".".join(map(str, each["loc"])), []).append(each["msg"])
    return findings
