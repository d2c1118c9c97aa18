"""Specifications as SQL."""

from .compiler import build_sqla_filter
from .options import apply_query_options

__all__ = ["apply_query_options", "build_sqla_filter"]
