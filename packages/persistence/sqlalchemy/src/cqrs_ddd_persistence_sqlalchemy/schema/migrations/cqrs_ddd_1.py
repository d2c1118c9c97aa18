"""Event store, outbox and inbox, version 1.

The tables are those of the models, which are at this version. When the models move on, this file
keeps the old shape and the next one leads from it to the new.
"""

from alembic import context, op

from cqrs_ddd_persistence_sqlalchemy import schema
from cqrs_ddd_persistence_sqlalchemy.schema.tables import TABLES

revision = "cqrs_ddd_1"
down_revision = None
branch_labels = ("cqrs_ddd",)
depends_on = None


def upgrade() -> None:
    given = context.config.attributes
    schema.install_core(
        op.get_bind(),
        given.get("cqrs_ddd_tables", TABLES),
        given.get("cqrs_ddd_ordering"),
    )


def downgrade() -> None:
    schema.remove(op.get_bind(), context.config.attributes.get("cqrs_ddd_tables", TABLES))
