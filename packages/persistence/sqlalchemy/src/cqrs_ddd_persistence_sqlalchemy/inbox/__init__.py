"""Inbox in a table."""
