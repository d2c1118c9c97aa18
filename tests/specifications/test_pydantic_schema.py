from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from cqrs_ddd_core import Query
from cqrs_ddd_specifications import (
    AttributeSpecification,
    QueryOptions,
    Specification,
    SpecificationFactory,
    field,
)
from cqrs_ddd_specifications.json_form import MAX_LEVELS
from cqrs_ddd_specifications.operators import REGEX
from cqrs_ddd_specifications.query_options import MAX_LIMIT

OPEN = {"attribute": "status", "operator": "=", "value": "open"}
IS_OPEN = field("status") == "open"


class Search(pydantic.BaseModel):
    where: Specification
    page: QueryOptions | None = None
    only: AttributeSpecification | None = None


class Order(pydantic.BaseModel):
    total: int


class ListOrders(Query[list[str]]):
    page: QueryOptions
    details: QueryOptions[Order] = QueryOptions()


def nest(levels: int) -> dict[str, Any]:
    return {"not": nest(levels - 1)} if levels else OPEN


def test_model_accepts_instances_dicts_and_json_of_specifications_and_options() -> None:
    page = {"where": {"or": [OPEN]}, "order_by": ["-total", "id"], "limit": 20}
    given = {"where": OPEN, "page": page, "only": OPEN}

    expected = Search(where=IS_OPEN, page=QueryOptions.from_dict(page), only=IS_OPEN)

    assert Search.model_validate(given) == expected
    assert Search.model_validate_json(json.dumps(given)) == expected
    assert expected.where is IS_OPEN


@pytest.mark.parametrize("mode", ["python", "json"])
def test_model_writes_the_json_form_and_reads_it_again(mode: Any) -> None:
    moment = datetime(2026, 3, 1, tzinfo=timezone.utc)
    where = (field("total") > Decimal("1.50")) & ~(field("placed_at") == moment)
    search = Search(where=where, page=QueryOptions(IS_OPEN, ("id",), 3, after=(7,)), only=IS_OPEN)

    written = search.model_dump(mode=mode)

    assert written == json.loads(search.model_dump_json())
    assert written["where"] == SpecificationFactory.to_dict(where)
    assert written["page"] == {"where": OPEN, "order_by": ["id"], "limit": 3, "after": [7]}
    assert Search.model_validate(written).model_dump(mode=mode) == written
    assert Search.model_validate(written).page == search.page


def test_query_message_carries_options_and_compares_by_value() -> None:
    query = ListOrders(
        page=QueryOptions(IS_OPEN, ("id",), limit=5),
        details=QueryOptions(field("total") > 3, limit=3),
    )

    restored = ListOrders.model_validate_json(query.model_dump_json())

    assert restored.page == query.page
    assert restored.details == query.details


@pytest.mark.parametrize(
    "where",
    [
        None,
        [],
        "status = open",
        {},
        {"attribute": "status"},
        {**OPEN, "more": 1},
        {**OPEN, "operator": "near"},
        {**OPEN, "operator": REGEX.name},
        {"and": [OPEN] * 501},
        nest(MAX_LEVELS),
    ],
)
def test_model_rejects_specifications_that_untrusted_input_may_not_have(where: object) -> None:
    given = {"where": where}
    with pytest.raises(pydantic.ValidationError) as caught:
        Search.model_validate(given)
    with pytest.raises(pydantic.ValidationError) as caught_in_json:
        Search.model_validate_json(json.dumps(given))

    for error in (caught.value, caught_in_json.value):
        assert error.errors()[0]["loc"] == ("where",)


@pytest.mark.parametrize(
    "page", [{"limit": MAX_LIMIT + 1}, {"limit": -1}, {"offset": "x"}, {"sort": []}, [], "id"]
)
def test_model_rejects_options_that_untrusted_input_may_not_have(page: object) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        ListOrders.model_validate({"page": page})

    assert caught.value.errors()[0]["type"] == "specification_error"


def test_field_of_one_class_rejects_specifications_of_another() -> None:
    with pytest.raises(pydantic.ValidationError, match="not an instance of AttributeSpecification"):
        Search.model_validate({"where": OPEN, "only": {"and": [OPEN]}})


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_json_schema_describes_nested_specifications_and_options(mode: Any) -> None:
    for model in (Search, ListOrders):
        schema = model.model_json_schema(mode=mode)

        definitions = schema["$defs"]
        options = definitions["QueryOptions"]["properties"]
        assert options["where"] == {"$ref": "#/$defs/Specification"}
        assert options["limit"]["maximum"] == MAX_LIMIT
        conjunction = definitions["Specification"]["anyOf"][0]["properties"]["and"]
        assert conjunction["items"] == {"$ref": "#/$defs/Specification"}
        assert set(options) == {
            "where",
            "order_by",
            "limit",
            "offset",
            "after",
            "select",
            "distinct",
        }


def test_field_with_an_allow_list_reads_the_input_itself() -> None:
    def read(data: Any) -> Any:
        if isinstance(data, QueryOptions):
            return data
        return QueryOptions.from_dict(data, allowed_fields=["status"])

    class Limited(pydantic.BaseModel):
        page: QueryOptions

        _read = pydantic.field_validator("page", mode="before")(read)

    assert Limited.model_validate({"page": {"where": OPEN}}).page.specification == IS_OPEN
    with pytest.raises(Exception, match="unknown field 'balance'"):
        Limited.model_validate({"page": {"order_by": ["balance"]}})
