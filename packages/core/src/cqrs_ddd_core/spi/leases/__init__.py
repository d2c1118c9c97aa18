"""Leases that are renewed while a block runs."""
