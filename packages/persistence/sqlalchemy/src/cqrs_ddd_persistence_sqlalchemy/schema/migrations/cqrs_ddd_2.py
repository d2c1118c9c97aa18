"""Version 2 of the tables: the heartbeats of services."""

from alembic import context, op

from cqrs_ddd_persistence_sqlalchemy import schema
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES

revision = "cqrs_ddd_2"
down_revision = "cqrs_ddd_1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables that version 1 does not have."""
    given = context.config.attributes
    schema.install_core(op.get_bind(), given.get("cqrs_ddd_tables", TABLES), version=2)


def downgrade() -> None:
    """Drop these tables with their rows."""
    tables = context.config.attributes.get("cqrs_ddd_tables", TABLES)
    schema.downgrade_core(op.get_bind(), tables, version=1)
