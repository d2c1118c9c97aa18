"""The inbox in a table."""
