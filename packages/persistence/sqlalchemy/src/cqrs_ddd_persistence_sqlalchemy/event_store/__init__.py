"""The event store in a table."""
