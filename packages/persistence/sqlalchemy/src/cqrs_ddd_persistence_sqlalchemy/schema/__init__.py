"""Tables of the toolkit: creation, checks and removal."""

from .installation import *
from .installation import __all__ as __all__
