"""Adapters of the ports for PostgreSQL and SQLite through SQLAlchemy."""
