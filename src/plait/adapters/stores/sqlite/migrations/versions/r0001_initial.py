"""The first schema."""

from importlib import resources

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables; Alembic has made its own."""
    text = resources.files("plait.adapters.stores.sqlite.migrations.versions").joinpath("r0001.sql").read_text("utf-8")
    for statement in text.split(";\n"):
        if statement.strip():
            op.execute(statement)
