"""A correlation id for each request."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cqrs_ddd_core import correlation_scope

HEADER = "X-Correlation-ID"

_SAFE = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)
"""Ids that are safe to copy into logs and databases unchanged."""


class CorrelationMiddleware:
    """Middleware that sets the correlation id of the client, or a new id, and returns it.

    The id is also in ``request.state.correlation_id``, for code outside the correlation scope.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request within the scope of its correlation id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested = Headers(scope=scope).get(HEADER, "")
        correlation_id = requested if _SAFE.fullmatch(requested) else str(uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = correlation_id
            await send(message)

        with correlation_scope(correlation_id):
            await self._app(scope, receive, send_with_id)
