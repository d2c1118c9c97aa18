"""Errors of requests as ``application/problem+json``, with FastAPI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cqrs_ddd_core import CQRSDDDError

from .answers import INVALID, MEDIA_TYPE, Answer, Problem, describe_problem, find_answer
from .correlation import HEADER

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
    """Return the problem document of an error."""
    answer, correlation_id = answer_to(error), request.state.correlation_id
    content = describe_problem(
        error,
        answer,
        method=request.method,
        path=request.url.path,
        correlation_id=correlation_id,
        errors=_list_findings(error),
    )
    return Response(
        content,
        status_code=answer.status,
        headers={**answer.headers, HEADER: correlation_id},
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
        return replace(INVALID, detail="The member errors lists the errors of each field.")
    return find_answer(error)


def _list_findings(error: Exception) -> Mapping[str, Sequence[str]] | None:
    """Return the errors by field, without the invalid values."""
    if not isinstance(error, RequestValidationError):
        return None
    findings: dict[str, list[str]] = {}
    for each in error.errors():  # Each also contains the input, which is not returned.
        findings.setdefault(".".join(map(str, each["loc"])), []).append(each["msg"])
    return findings
