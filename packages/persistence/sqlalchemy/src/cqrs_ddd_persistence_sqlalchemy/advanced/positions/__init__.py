"""Checkpoints of projections in a table."""
