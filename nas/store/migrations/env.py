"""How alembic runs our migrations: on the caller's connection, on `nas_*` tables alone.

A schema change is a file in `versions/`, a row in `tables.SCHEMA_VERSIONS` and the change in
`tables`; tests hold the three together.
"""

from alembic import context

from nas.store.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
