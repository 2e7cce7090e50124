"""Storage on SQLite and PostgreSQL: tables, migrations, and functions that each run in one transaction."""
