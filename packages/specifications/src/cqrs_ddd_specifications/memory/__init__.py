"""Specifications over objects in memory."""
