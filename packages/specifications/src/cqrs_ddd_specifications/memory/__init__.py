"""Evaluation of specifications over objects in memory."""
