"""Parents, tags and access lists of nodes: the readers of the domain services."""

from ..domain.services.readers import *
