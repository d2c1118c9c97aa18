"""Event store, outbox, inbox and heartbeats, version 1.

The revision creates the tables of this library, which are at version 1. It changes with the
tables until 0.1.0 is released. After that it stays, and the next revision migrates to version 2.
"""

from alembic import context, op

from cqrs_ddd_persistence_sqlalchemy import schema
from cqrs_ddd_persistence_sqlalchemy.schema.installation import ensure_online
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES

revision = "cqrs_ddd_1"
down_revision = None
branch_labels = ("cqrs_ddd",)
depends_on = None


def upgrade() -> None:
    """Create the core tables, with the tables and ordering set in the Alembic configuration."""
    given = context.config.attributes
    tables = given.get("cqrs_ddd_tables", TABLES)
    ordering = given.get("cqrs_ddd_ordering")
    if not context.is_offline_mode():
        schema.install_core(op.get_bind(), tables, ordering)
        return
    for statement in schema.build_core_statements(op.get_context().dialect, tables, ordering):
        op.execute(statement)


def downgrade() -> None:
    """Drop all tables of the toolkit with their rows."""
    ensure_online(context.is_offline_mode())
    schema.remove(op.get_bind(), context.config.attributes.get("cqrs_ddd_tables", TABLES))
