"""Heartbeats of services in a table."""
