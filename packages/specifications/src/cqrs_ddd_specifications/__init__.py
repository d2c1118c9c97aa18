"""Composable query specifications with an in-memory evaluator."""
