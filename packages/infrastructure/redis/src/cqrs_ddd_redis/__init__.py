"""Adapters of the ports for Redis."""
