"""Tables of the advanced adapters, version 1: snapshots and projections.

They are created if the extra ``advanced`` is installed. After installing it later, downgrade this
branch and upgrade it again.
"""

from alembic import context, op

from cqrs_ddd_persistence_sqlalchemy import schema
from cqrs_ddd_persistence_sqlalchemy.schema.installation import ensure_online
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES

revision = "cqrs_ddd_advanced_1"
down_revision = None
branch_labels = ("cqrs_ddd_advanced",)
depends_on = "cqrs_ddd_1"


def upgrade() -> None:
    """Create the tables of the extra ``advanced``, if it is installed."""
    tables = context.config.attributes.get("cqrs_ddd_tables", TABLES)
    if not context.is_offline_mode():
        schema.install_advanced(op.get_bind(), tables)
        return
    for statement in schema.build_advanced_statements(tables):
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables of the extra ``advanced`` with their rows."""
    ensure_online(context.is_offline_mode())
    schema.remove_advanced(op.get_bind(), context.config.attributes.get("cqrs_ddd_tables", TABLES))
