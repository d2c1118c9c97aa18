"""Errors of requests as ``application/problem+json``, with Litestar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from order_service.answers import INVALID, MEDIA_TYPE, Answer, describe_problem, find_answer
from order_service.correlation import HEADER


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Return the problem document of an error."""
    answer = answer_to(error)
    # Litestar routes outside the middlewares, so a request for an unknown path has no id.
    correlation_id = str(request.scope["state"].get("correlation_id") or uuid4())
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
    if isinstance(error, ValidationException):
        return replace(INVALID, detail="The member errors lists the errors of each field.")
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return Answer(error.status_code, "about:blank", phrase, error.detail, error.headers or {})
    return find_answer(error)


def _list_findings(error: Exception) -> Mapping[str, Sequence[str]] | None:
    """Return the errors by field, without the invalid values."""
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return None
    findings: dict[str, list[str]] = {}
    for each in error.extra:
        source = each.get("source", "body")
        name = source.value if isinstance(source, ParamType) else source
        findings.setdefault(f"{name}.{each['key']}", []).append(each["message"])
    return findings
