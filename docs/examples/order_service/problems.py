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
    SerializationError,
    TransientCommandError,
    ValidationError,
)

from .correlation import HEADER

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class BehindError(CQRSDDDError):
    """What is read has not got to where the client asked it to be."""


class Problem(BaseModel):
    """What a client is told; ``errors`` maps a field to what is wrong with it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str
    correlation_id: str
    errors: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True)
class Answer:
    """What an error is answer_error with; without a ``detail`` the error speaks for itself."""

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
    "Somebody else was faster",
    "It was changed in the meantime; reload it and try again.",
)
_BUSY = Answer(
    503, "/problems/busy", "Busy", "Somebody else is at work on it; send it again.", _SOON
)
_UNAVAILABLE = Answer(
    503, "/problems/unavailable", "Not available", "It cannot be done now; send it again.", _SOON
)
_FAULT = Answer(
    500, "/problems/fault", "A fault of ours", "Tell us the correlation id; we have the rest."
)

ANSWERS: Mapping[type[Exception], Answer] = {
    ValidationError: _INVALID,
    NotFoundError: Answer(404, "/problems/not-found", "It does not exist"),
    DomainError: Answer(409, "/problems/refused", "A rule forbids it"),
    DuplicateCommandError: Answer(
        422,
        "/problems/key-in-use",
        "The Idempotency-Key was used before",
        "Another request was sent under this key; take a new key.",
    ),
    ConcurrencyError: _CONFLICT,
    LockAcquisitionError: _BUSY,
    LeaseLostError: _BUSY,
    TransientCommandError: _UNAVAILABLE,
    InfrastructureError: _UNAVAILABLE,
    BehindError: Answer(
        503,
        "/problems/behind",
        "Not there yet",
        "What you have sent is stored, but cannot be read yet; ask again.",
        _SOON,
    ),
    CommitOutcomeUnknownError: Answer(
        503,
        "/problems/outcome-unknown",
        "It may be done, or not",
        "Send it again under the same Idempotency-Key; without one, look first.",
        _SOON,
    ),
    DuplicateKeyError: Answer(
        409, "/problems/taken", "Taken", "Another one has a value that must be unique."
    ),
    # Sent again, these would fail again, and the client can do nothing about it.
    ImmutableObjectError: _FAULT,
    MissingIdentityError: _FAULT,
    EventApplicationError: _FAULT,
    CorruptHierarchyError: _FAULT,
    SerializationError: _FAULT,
    DuplicateEventError: _FAULT,
    AmbiguousStreamError: _FAULT,
    Exception: _FAULT,
}
"""By the nearest class: a subclass is answer_error as its base, unless it is named here."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
"""For OpenAPI."""


def install(app: FastAPI) -> None:
    """One handler for every error; needs ``CorrelationMiddleware``."""
    for kind in (CQRSDDDError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)


async def answer_error(request: Request, error: Exception) -> Response:
    """The problem that the error is; what the client is not told goes to the log."""
    answer = answer_to(error)
    problem = Problem(
        type=answer.type,
        title=answer.title,
        status=answer.status,
        detail=answer.detail or str(error) or None,
        instance=quote(request.url.path),
        correlation_id=request.state.correlation_id,
        errors=_findings(error),
    )
    if answer.status >= 500:
        # An error that no class is named for comes here outside of the middlewares.
        with correlation_scope(problem.correlation_id):
            logger.error("%s %s: %r", request.method, problem.instance, error, exc_info=error)
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=answer.status,
        headers={**answer.headers, HEADER: problem.correlation_id},
        media_type=MEDIA_TYPE,
    )


def answer_to(error: Exception) -> Answer:
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        detail, headers = str(error.detail), error.headers or {}
        return Answer(error.status_code, "about:blank", phrase, detail, headers)
    if isinstance(error, RequestValidationError):
        # Its own words are a file and a line of ours, and all that was sent.
        return replace(_INVALID, detail="What is wrong stands in errors, field by field.")
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def _findings(error: Exception) -> Mapping[str, Sequence[str]] | None:
    if isinstance(error, ValidationError):
        return error.errors
    if not isinstance(error, RequestValidationError):
        return None
    findings: dict[str, list[str]] = {}
    for each in error.errors():  # Each holds the input as well, which is not sent back.
        findings.setdefault(".".join(map(str, each["loc"])), []).append(each["msg"])
    return findings
