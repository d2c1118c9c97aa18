"""Readers of hierarchies in tables of the application."""
