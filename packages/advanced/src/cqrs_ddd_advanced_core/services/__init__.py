"""Background services that an ``Application`` runs."""

from .projections import Projections

__all__ = ["Projections"]
