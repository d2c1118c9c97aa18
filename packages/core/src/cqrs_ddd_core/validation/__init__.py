"""Ready-made validators."""

from .composite import CompositeValidator
from .pydantic_validator import PydanticValidator

__all__ = ["CompositeValidator", "PydanticValidator"]
