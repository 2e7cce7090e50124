"""Alembic's entry: runs on the connection that `persistence.schema` hands over, within its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
