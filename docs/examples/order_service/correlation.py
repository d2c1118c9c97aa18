"""A correlation id for each request, with any ASGI framework."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from cqrs_ddd_core import CommitOutcomeUnknownError, correlation_scope

from .answers import MEDIA_TYPE, describe_problem, find_answer

HEADER = "X-Correlation-ID"

_NAME = HEADER.lower().encode()
_SAFE = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)
"""Ids that are safe to copy into logs and databases unchanged."""


class CorrelationMiddleware:
    """Middleware that sets the correlation id of the client, or a new id, and returns it.

    A request that the server cancels gets a problem document, too. The id is also in
    ``request.state.correlation_id``, for code outside the correlation scope.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the request within the scope of its correlation id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested = dict(scope["headers"]).get(_NAME, b"").decode("latin-1")
        correlation_id = requested if _SAFE.fullmatch(requested) else str(uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation_id

        is_answered = False

        async def send_with_id(message: Any) -> None:
            nonlocal is_answered
            is_answered = True
            if message["type"] == "http.response.start":
                others = [each for each in message.get("headers", []) if each[0] != _NAME]
                message["headers"] = [*others, (_NAME, correlation_id.encode())]
            await send(message)

        with correlation_scope(correlation_id):
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:
                # The server stops; its own answer would have neither a problem nor the id.
                if not is_answered:
                    await _answer_cancelled(scope, send_with_id, correlation_id)
                raise


async def _answer_cancelled(scope: Any, send: Any, correlation_id: str) -> None:
    error = CommitOutcomeUnknownError("the server has cancelled the request")
    answer = find_answer(error)
    content = describe_problem(
        error,
        answer,
        method=scope["method"],
        path=scope["path"],
        correlation_id=correlation_id,
    )
    headers = {"Content-Type": MEDIA_TYPE, **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": content.encode()})
