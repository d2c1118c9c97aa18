"""Event store, outbox and inbox, version 1.

Later revisions add the tables of later versions.
"""

from alembic import context, op

from cqrs_ddd_persistence_sqlalchemy import schema
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES

revision = "cqrs_ddd_1"
down_revision = None
branch_labels = ("cqrs_ddd",)
depends_on = None


def upgrade() -> None:
    """Create the core tables, with the tables and ordering set in the Alembic configuration."""
    given = context.config.attributes
    schema.install_core(
        op.get_bind(),
        given.get("cqrs_ddd_tables", TABLES),
        given.get("cqrs_ddd_ordering"),
        version=1,
    )


def downgrade() -> None:
    """Drop all tables of the toolkit with their rows."""
    schema.remove(op.get_bind(), context.config.attributes.get("cqrs_ddd_tables", TABLES))
