"""The trash names runs by their ids, under which their files lie."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.execute('ALTER TABLE trash ADD COLUMN run_id TEXT COLLATE "C"')
