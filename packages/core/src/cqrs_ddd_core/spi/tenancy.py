"""Tenants of stored rows, which adapters take from the context of the running request."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ..context import Request, enter_request, request_context, request_var
from ..primitives.exceptions import InvalidOperationError

TENANT_ID = "tenant_id"
"""Name of the tenant in the metadata of events and messages."""


def get_row_tenant(operation: str) -> str:
    """Return the tenant of the rows of an operation on keys, "" for a request without a tenant.

    Raises:
        InvalidOperationError: the call is inside ``system_tenant``.
    """
    request = request_var.get()
    if request.is_system:
        raise InvalidOperationError.covers_all_tenants(operation)
    return request.tenant_id or ""


def get_visible_tenant() -> str | None:
    """Return the tenant whose rows an operation on all rows covers; None covers all tenants."""
    request = request_var.get()
    return None if request.is_system else request.tenant_id or ""


def ensure_all_tenants(operation: str) -> None:
    """Raise ``InvalidOperationError`` in the request of a tenant; for whole tables."""
    if request_var.get().tenant_id is not None:
        raise InvalidOperationError.needs_all_tenants(operation)


def ensure_visible(tenant_id: str, subject: str) -> None:
    """Raise ``InvalidOperationError`` if a row is of another tenant than the running request."""
    if get_visible_tenant() not in (None, tenant_id):
        raise InvalidOperationError.other_tenant(subject)


def ensure_own_metadata(metadata: Mapping[str, object], tenant_id: str, subject: str) -> None:
    """Raise ``InvalidOperationError`` if the metadata name another tenant than the row's."""
    if metadata and metadata.get(TENANT_ID) not in (None, tenant_id or None):
        raise InvalidOperationError.other_tenant(f"the metadata of {subject}")


def set_metadata_tenant(metadata: dict[str, object], tenant_id: str) -> None:
    """Let the metadata of a stored row name the tenant of the row, and no other one."""
    if tenant_id:
        metadata[TENANT_ID] = tenant_id
    elif metadata.get(TENANT_ID) is not None:
        del metadata[TENANT_ID]


def get_metadata_tenant(metadata: Mapping[str, object]) -> str:
    """Return the tenant that a store has set in the metadata, or "" without one."""
    tenant_id = metadata.get(TENANT_ID)
    return tenant_id if isinstance(tenant_id, str) else ""


def open_request(metadata: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return the request context of the tenant and the user that the metadata name."""
    return request_context(tenant_id=metadata.get(TENANT_ID), user_id=metadata.get("user_id"))


def open_tenant(tenant_id: str) -> AbstractContextManager[None]:
    """Return the request context of the tenant of a row, which needs no check."""
    return enter_request(Request(tenant_id or None))
