"""Composable conditions that mean the same in memory and in databases."""

from .builder import SpecificationBuilder
from .exceptions import SpecificationError
from .factory import SpecificationFactory
from .field_comparison import Field, field
from .operators import OPERATORS, Operator, Takes
from .query_options import QueryOptions
from .selection import select
from .specification import (
    AndSpecification,
    AttributeSpecification,
    NotSpecification,
    OrSpecification,
    Specification,
    resolve,
)

__all__ = [
    "OPERATORS",
    "AndSpecification",
    "AttributeSpecification",
    "Field",
    "NotSpecification",
    "Operator",
    "OrSpecification",
    "QueryOptions",
    "Specification",
    "SpecificationBuilder",
    "SpecificationError",
    "SpecificationFactory",
    "Takes",
    "field",
    "resolve",
    "select",
]
