"""Automations look at what has happened to assets since they looked last."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add an index."""
    op.execute("CREATE INDEX asset_events_in_time ON asset_events (at)")
