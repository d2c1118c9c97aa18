"""Read-through caching: one load per key, and JSON that restores its value."""
