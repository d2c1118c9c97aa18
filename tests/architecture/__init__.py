"""Tests of the structure of the whole repository."""
