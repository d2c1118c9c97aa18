"""Searches that fakes answer in memory."""
