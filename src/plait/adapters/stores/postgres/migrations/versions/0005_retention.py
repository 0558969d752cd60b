"""Retention finds the runs that made what assets are now."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index."""
    op.execute('CREATE INDEX assets_of_run ON assets (run_id COLLATE "C")')
