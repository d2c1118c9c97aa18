"""Tenant and user of the running request."""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

from .primitives.exceptions import InvalidOperationError
from .primitives.storable import is_storable

__all__ = [
    "get_request_metadata",
    "get_tenant_id",
    "get_user_id",
    "request_context",
    "system_tenant",
]

P = ParamSpec("P")
R = TypeVar("R")

MAX_TENANT_ID = 255
"""Bytes of a tenant id at most; it is part of the keys of indexes."""


class Request(NamedTuple):
    """Tenant and user of a request, or the scope of work for all tenants.

    Attributes:
        tenant_id: id of the tenant, or None without tenants.
        user_id: id of the user, or None.
        is_system: True for work that covers all tenants.
    """

    tenant_id: str | None = None
    user_id: str | None = None
    is_system: bool = False


_NO_REQUEST = Request()
request_var: ContextVar[Request] = ContextVar("request", default=_NO_REQUEST)


def get_tenant_id() -> str | None:
    """Return the tenant of the running request, or None, as inside ``system_tenant``."""
    return request_var.get().tenant_id


def get_user_id() -> str | None:
    """Return the user of the running request, or None."""
    return request_var.get().user_id


def get_request_metadata() -> dict[str, object]:
    """Return the tenant and the user of the running request, for the metadata of events."""
    facts = {"tenant_id": get_tenant_id(), "user_id": get_user_id()}
    return {name: value for name, value in facts.items() if value is not None}


@contextmanager
def request_context(*, tenant_id: str | None = None, user_id: str | None = None) -> Iterator[None]:
    """Set tenant and user for the block; tasks started inside inherit them.

    Inside ``system_tenant`` the block concerns the one tenant again. The end of the block may run
    in another context, as in a generator that a web framework resumes.

    Raises:
        InvalidOperationError: the tenant id is not a text of 1 to 255 bytes.
    """
    if tenant_id is not None:
        _ensure_tenant_id(tenant_id)
    with enter_request(Request(tenant_id, user_id)):
        yield


@contextmanager
def system_tenant() -> Iterator[None]:
    """Let the block cover the rows of all tenants, as background workers do.

    Inside, operations on all rows read and change the rows of every tenant, ``get_tenant_id``
    returns None, and operations on a key raise ``InvalidOperationError``, since the same key may
    exist in several tenants: open ``request_context(tenant_id=...)`` for them.
    """
    with enter_request(Request(None, get_user_id(), is_system=True)):
        yield


@contextmanager
def enter_request(request: Request) -> Iterator[None]:
    """Set all facts of the running request for the block."""
    outer = request_var.get()
    request_var.set(request)
    try:
        yield
    finally:
        request_var.set(outer)  # A token of another context could not be reset.


def bind_request(work: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a function that runs ``work`` for the tenant and user of the present request."""
    request = request_var.get()

    async def run_bound(*args: P.args, **kwargs: P.kwargs) -> R:
        with enter_request(request):
            return await work(*args, **kwargs)

    return run_bound


def _ensure_tenant_id(tenant_id: object) -> None:
    if (
        not isinstance(tenant_id, str)
        or not is_storable(tenant_id)
        or not 0 < len(tenant_id.encode()) <= MAX_TENANT_ID
    ):
        raise InvalidOperationError(
            f"a tenant id must be a text of 1 to {MAX_TENANT_ID} bytes without NUL, got a "
            f"{type(tenant_id).__name__} that is not; pass None for a request without a tenant"
        )
