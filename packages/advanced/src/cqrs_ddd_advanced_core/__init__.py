"""Event sourcing, projections, sagas, background jobs, scheduling and undo."""
