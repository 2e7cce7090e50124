"""PostgreSQL over asyncpg, directly or behind a pooler, with a timeout for every wait."""
