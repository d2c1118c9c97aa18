from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone

import pydantic
import pytest

from cqrs_ddd_core import AggregateRoot, ArchivableMixin, AuditableMixin
from cqrs_ddd_core.context import request_context
from cqrs_ddd_core.domain.spatial import SpatialMixin
from cqrs_ddd_core.primitives.exceptions import InvariantViolationError

MONDAY = datetime(2026, 6, 1, tzinfo=timezone.utc)
TUESDAY = datetime(2026, 6, 2, tzinfo=timezone.utc)


class Page(AuditableMixin, ArchivableMixin, AggregateRoot[str]):
    title: str = ""


class Place(SpatialMixin, AggregateRoot[str]):
    pass


def test_first_touch_of_an_auditable_aggregate_sets_its_creation_time_and_user() -> None:
    page = Page(id="p-1")

    page.touch(MONDAY, by="ada")
    with request_context(user_id="grace"):
        page.touch(TUESDAY)

    assert (page.created_at, page.created_by) == (MONDAY, "ada")
    assert (page.updated_at, page.updated_by) == (TUESDAY, "grace")


def test_aggregate_can_be_archived_and_restored_but_neither_twice() -> None:
    page = Page(id="p-1")
    with pytest.raises(InvariantViolationError, match="Page is not archived; nothing to restore"):
        page.restore()

    page.archive(MONDAY, by="ada")

    assert (page.is_archived, page.archived_by) == (True, "ada")
    with pytest.raises(InvariantViolationError, match="archived at 2026-06-01.*restore it first"):
        page.archive(TUESDAY)
    page.restore()
    assert (page.is_archived, page.archived_at, page.archived_by) == (False, None, None)


def test_audit_times_must_have_a_zone() -> None:
    with pytest.raises(pydantic.ValidationError):
        Page(id="p-1", created_at=datetime(2026, 6, 1))


def test_spatial_mixin_reads_and_writes_geojson() -> None:
    place = Place.model_validate(
        {"id": "1", "geometry": {"type": "Point", "coordinates": [11.97, 57.71]}}
    )

    assert place.geometry is not None
    assert place.model_dump(mode="json")["geometry"]["coordinates"] == [11.97, 57.71]
    with pytest.raises(pydantic.ValidationError):
        Place.model_validate({"id": "1", "geometry": {"type": "Point", "coordinates": ["here"]}})


def test_spatial_mixin_without_its_extra_raises_an_error_with_the_pip_line() -> None:
    code = (
        "import sys; sys.modules['geojson_pydantic'] = None\n"
        "import cqrs_ddd_core.domain\n"
        "try: import cqrs_ddd_core.domain.spatial\n"
        "except ImportError as error: print(error)\n"
    )

    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert process.stdout == (
        'SpatialMixin needs geojson-pydantic: pip install "cqrs-ddd-core[geometry]"\n'
    )
