"""Translation of specifications to SQL."""

from .compiler import build_sqla_filter
from .options import Criteria, apply_criteria, apply_query_options

__all__ = ["Criteria", "apply_criteria", "apply_query_options", "build_sqla_filter"]
