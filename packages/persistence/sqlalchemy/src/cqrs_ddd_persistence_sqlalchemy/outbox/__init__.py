"""Outbox in a table, claimed by relays through leases."""
