"""Rules that span several aggregates."""
