"""Alembic's environment: the connection is given, and so is its transaction (`migrate.py`)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
