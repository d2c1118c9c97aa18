"""Ports of hierarchies: the readers of parents, tags and access lists of nodes."""

from ..domain.services.readers import *
