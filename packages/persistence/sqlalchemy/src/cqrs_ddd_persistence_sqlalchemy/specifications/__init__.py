"""Specifications as SQL."""

from .compiler import build_sqla_filter
from .options import apply_query_options, in_order

__all__ = ["apply_query_options", "build_sqla_filter", "in_order"]
