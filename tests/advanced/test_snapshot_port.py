"""Tests that fakes and adapters have the signatures of their ports."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from cqrs_ddd_advanced_core.adapters.memory import (
    InMemoryDeadLetterStore,
    InMemoryPositionStore,
    InMemoryProjectionStore,
    InMemorySnapshotStore,
)
from cqrs_ddd_advanced_core.event_sourcing import EventSourcedRepository
from cqrs_ddd_advanced_core.ports.dead_letters import IDeadLetterStore
from cqrs_ddd_advanced_core.ports.persistence import IRetrievalPersistence
from cqrs_ddd_advanced_core.ports.positions import IPositionStore
from cqrs_ddd_advanced_core.ports.projections import IProjectionStore
from cqrs_ddd_advanced_core.ports.snapshots import ISnapshotStore
from cqrs_ddd_core.ports import IBulkRepository
from cqrs_ddd_persistence_sqlalchemy.advanced import (
    SQLAlchemyDeadLetterStore,
    SQLAlchemyPositionStore,
    SQLAlchemyProjectionStore,
    SQLAlchemySnapshotStore,
)

IMPLEMENTATIONS: list[tuple[type[Any], type[Any], tuple[str, ...]]] = [
    (InMemorySnapshotStore, ISnapshotStore, ("save", "save_many", "load", "delete")),
    (SQLAlchemySnapshotStore, ISnapshotStore, ("save", "save_many", "load", "delete")),
    *(
        (
            kind,
            IProjectionStore,
            (
                "ensure_collection",
                "upsert",
                "upsert_batch",
                "get",
                "get_batch",
                "find",
                "delete",
                "delete_batch",
                "truncate_collection",
                "drop_collection",
                "lock",
                "replace_collection",
            ),
        )
        for kind in (InMemoryProjectionStore, SQLAlchemyProjectionStore)
    ),
    *(
        (
            kind,
            IPositionStore,
            (
                "claim",
                "advance",
                "renew",
                "release",
                "list_positions",
                "lock_shared",
                "lock_exclusive",
                "replace",
                "wait_until",
            ),
        )
        for kind in (InMemoryPositionStore, SQLAlchemyPositionStore)
    ),
    *(
        (
            kind,
            IDeadLetterStore,
            (
                "add",
                "remove",
                "blocked_streams",
                "retryable",
                "list_dead_letters",
                "retry",
                "discard",
                "replace",
            ),
        )
        for kind in (InMemoryDeadLetterStore, SQLAlchemyDeadLetterStore)
    ),
    (
        EventSourcedRepository,
        IBulkRepository,
        ("add", "add_many", "get", "delete", "list_all", "search"),
    ),
    (EventSourcedRepository, IRetrievalPersistence, ("retrieve",)),
]


def _format_signature(function: Any) -> str:
    """Return the parameters with kinds and defaults, without annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@pytest.mark.parametrize(("ours", "port", "names"), IMPLEMENTATIONS)
def test_implementation_has_the_signatures_of_its_port(
    ours: type[Any], port: type[Any], names: tuple[str, ...]
) -> None:
    assert issubclass(ours, port)
    for name in names:
        signatures = [_format_signature(getattr(each, name)) for each in (ours, port)]
        assert signatures[0] == signatures[1], name


def test_snapshot_store_without_all_port_methods_cannot_be_created() -> None:
    class Incomplete(ISnapshotStore):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()  # type: ignore[abstract]
