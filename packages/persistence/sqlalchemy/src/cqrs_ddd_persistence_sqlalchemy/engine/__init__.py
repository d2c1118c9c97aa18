"""Connections, transactions and errors of PostgreSQL and SQLite."""
