"""The outbox in a table, claimed by relays through leases."""
