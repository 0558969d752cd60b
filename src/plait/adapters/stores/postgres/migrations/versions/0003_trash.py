"""The trash names runs by their ids, under which their files lie."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.execute('ALTER TABLE trash ADD COLUMN run_id TEXT COLLATE "C"')
