"""Alembic's entry: runs on the connection that `persistence.schema` hands over, within its transaction."""

from alembic import context

from persistence.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
