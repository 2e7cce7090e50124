"""Storage on SQLite and PostgreSQL: tables, migrations, and functions that are one transaction each."""
