"""Event store in a table."""
