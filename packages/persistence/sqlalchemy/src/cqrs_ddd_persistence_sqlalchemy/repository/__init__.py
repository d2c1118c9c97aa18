"""Aggregates in tables of the application."""
