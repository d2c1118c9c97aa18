"""Tenant and user of the running request."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

__all__ = ["get_request_metadata", "get_tenant_id", "get_user_id", "request_context"]

P = ParamSpec("P")
R = TypeVar("R")

tenant_id_var: ContextVar[str | None] = ContextVar("tenant_id", default=None)
user_id_var: ContextVar[str | None] = ContextVar("user_id", default=None)


def get_tenant_id() -> str | None:
    """Return the tenant of the running request, or None."""
    return tenant_id_var.get()


def get_user_id() -> str | None:
    """Return the user of the running request, or None."""
    return user_id_var.get()


def get_request_metadata() -> dict[str, object]:
    """Return the tenant and the user of the running request, for the metadata of events."""
    facts = {"tenant_id": get_tenant_id(), "user_id": get_user_id()}
    return {name: value for name, value in facts.items() if value is not None}


@contextmanager
def request_context(*, tenant_id: str | None = None, user_id: str | None = None) -> Iterator[None]:
    """Set tenant and user for the block; tasks started inside inherit them.

    The end of the block may run in another context, as in a generator that a web framework resumes.
    """
    outer = tenant_id_var.get(), user_id_var.get()
    tenant_id_var.set(tenant_id)
    user_id_var.set(user_id)
    try:
        yield
    finally:
        # A token of another context could not be reset.
        tenant_id_var.set(outer[0])
        user_id_var.set(outer[1])


def bind_request(work: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Return a function that runs ``work`` for the tenant and user of the present request."""
    tenant_id, user_id = get_tenant_id(), get_user_id()

    async def run_bound(*args: P.args, **kwargs: P.kwargs) -> R:
        with request_context(tenant_id=tenant_id, user_id=user_id):
            return await work(*args, **kwargs)

    return run_bound
