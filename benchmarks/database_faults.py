"""Two PostgreSQL servers in a production-like setup, and the faults that are injected.

One server is the synchronous standby of the other. Each is behind a TCP proxy with a fixed port, so one URL reaches
both during every fault.
"""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from persistence.waits import Waits
from tests.postgresql_cluster import ACCOUNT, Cluster, clusters, find_debian_programs
from tests.tcp_proxy import TcpProxy

DATABASE = "soak"
SESSION, TRANSACTION, FOUND = POOLERS = ("session", "transaction", "found")
"""The pooler mode in the URL. `found`: the URL has no mode, and PgBouncer runs in the mode `transaction`."""

SILENT_SECONDS = 20
"""Seconds of the faults `silence_connections` and `stall`: longer than a short statement, so that clients end it."""

SNAPSHOT_SECONDS = 60
WAIT_SECONDS = 60
"""Maximum seconds until a standby or a pooler is ready."""

AIM_SECONDS = 5.0
"""Maximum seconds after a fault until all work succeeds again."""

_CONFIGURATION = """
max_connections = 200
wal_retrieve_retry_interval = 100
"""
_TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
 where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')
"""
_IS_SYNCHRONOUS = "select count(*) from pg_stat_replication where state = 'streaming' and sync_state = 'sync'"

_POOLER = """
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
max_client_conn = 300
default_pool_size = 150
server_login_retry = 1
"""


class Databases:
    """A primary and its synchronous standby. `url` connects to the one that accepts writes."""

    def __init__(self, new: Callable[[], Cluster], folder: Path, pooler: str) -> None:
        self._clusters = [new(), new()]
        self._proxies = [TcpProxy(("127.0.0.1", cluster.port)) for cluster in self._clusters]
        self._place = 0
        self._pooler = Pooler(folder, SESSION if pooler == SESSION else TRANSACTION)
        places = ",".join(f"127.0.0.1:{proxy.port}" for proxy in self._proxies)
        options = "sslmode=disable&target_session_attrs=read-write"
        if pooler != FOUND:
            options += f"&pooler={pooler}"
        self.url = f"postgresql://postgres@{places}/{DATABASE}?{options}"
        self.primary.create(_CONFIGURATION)
        self.primary.start()
        self.primary.create_migrated(DATABASE)
        self._follow(self._clusters[1])

    @property
    def primary(self) -> Cluster:
        return self._clusters[self._place]

    @property
    def _proxy(self) -> TcpProxy:
        return self._proxies[self._place]

    def close(self) -> None:
        self._pooler.stop()
        for proxy in self._proxies:
            proxy.close()

    def change_nothing(self) -> None:
        """Change nothing."""

    def restart(self) -> None:
        """Restart the primary in the way of an administrator."""
        self.primary.stop("fast")
        self._proxy.refuse()
        self.primary.start()
        self._proxy.accept()

    def terminate(self) -> None:
        """Terminate all sessions of the primary."""
        self.primary.execute(_TERMINATE)

    def silence_connections(self) -> None:
        """Forward nothing for a while, neither on existing connections nor on new ones."""
        for proxy in self._proxies:
            proxy.freeze(is_deaf=True)
        time.sleep(SILENT_SECONDS)
        for proxy in self._proxies:
            proxy.unfreeze()

    def stall(self) -> None:
        """Forward nothing on existing connections for a while. New connections work."""
        for proxy in self._proxies:
            proxy.freeze()
        time.sleep(SILENT_SECONDS)
        for proxy in self._proxies:
            proxy.unfreeze()

    def hold_snapshot(self) -> None:
        """Hold a snapshot of all rows for a while, so that no dead row can be removed."""

        async def hold() -> None:
            connection = await asyncpg.connect(self.primary.url(DATABASE))
            try:
                async with connection.transaction(isolation="repeatable_read"):
                    await connection.fetchval("select count(*) from deliveries")
                    await asyncio.sleep(SNAPSHOT_SECONDS)
            finally:
                await connection.close()

        asyncio.run(hold())

    def enter_pooler(self) -> None:
        """Route all clients through a PgBouncer."""
        self._pooler.start(self.primary)
        self._proxy.retarget(("127.0.0.1", self._pooler.port))
        self._proxy.cut()

    def restart_pooler(self) -> None:
        """Stop the PgBouncer, which closes all connections, and start it again."""
        self._pooler.stop()
        self._pooler.start(self.primary)

    def leave_pooler(self) -> None:
        """Route all clients to the server directly again."""
        self._proxy.retarget(("127.0.0.1", self.primary.port))
        self._proxy.cut()
        self._pooler.stop()

    def fail_over(self) -> None:
        """Kill the primary with -9 and promote the standby."""
        self.primary.kill()
        self._proxy.refuse()
        self._place = 1 - self._place
        self.primary.promote()

    def rebuild_standby(self) -> None:
        """Make the former primary a synchronous standby of the new one."""
        former = self._clusters[1 - self._place]
        for entry in former.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._follow(former)
        self._proxies[1 - self._place].accept()

    def _follow(self, standby: Cluster) -> None:
        standby.create_standby(self.primary)
        # After its promotion, it must not wait for a standby.
        standby.configure("synchronous_standby_names = ''")
        standby.start()
        self.primary.configure("synchronous_standby_names = '*'")
        self.primary.execute("select pg_reload_conf()")
        _wait_until(lambda: self.primary.execute(_IS_SYNCHRONOUS) == 1, "the standby is synchronous")


class Pooler:
    """A PgBouncer on its own port."""

    def __init__(self, folder: Path, mode: str) -> None:
        self._folder = folder
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]

    def start(self, server: Cluster) -> None:
        """Start it in front of a server, and return when it accepts connections."""
        configuration, users = self._folder / "pgbouncer.ini", self._folder / "users.txt"
        users.write_text('"postgres" ""\n')
        configuration.write_text(_POOLER.format(port=server.port, listen_port=self.port, users=users, mode=self._mode))
        user = ACCOUNT if os.geteuid() == 0 else None
        with (self._folder / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_pooler_program()), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # PgBouncer refuses to run as root.
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        _wait_until(self._accepts, "PgBouncer accepts connections")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False


@dataclass(frozen=True)
class DatabaseFault:
    """A kind of fault. The service is under load before, during and after it.

    `limit` is the maximum number of seconds after its end until all work succeeds again, `observed` the seconds of
    observation.
    """

    words: str
    act: Callable[[Databases], None]
    prepare: Callable[[Databases], None] = Databases.change_nothing
    restore: Callable[[Databases], None] = Databases.change_nothing
    limit: float = AIM_SECONDS
    observed: float = 15.0


_SILENCE_LIMIT = Waits().statement_timeout + Waits().grace
FAULTS = {
    "nothing": DatabaseFault("nothing, for comparison", Databases.change_nothing),
    "restart": DatabaseFault("PostgreSQL is restarted", Databases.restart),
    "terminate": DatabaseFault("all backends are terminated", Databases.terminate),
    "silent": DatabaseFault(
        f"silent for {SILENT_SECONDS} s",
        Databases.silence_connections,
        limit=_SILENCE_LIMIT,
        observed=_SILENCE_LIMIT + 5,
    ),
    "stalled": DatabaseFault(
        f"open connections silent for {SILENT_SECONDS} s",
        Databases.stall,
        limit=_SILENCE_LIMIT,
        observed=_SILENCE_LIMIT + 5,
    ),
    "snapshot": DatabaseFault(f"a snapshot is held for {SNAPSHOT_SECONDS} s", Databases.hold_snapshot),
    "bouncer": DatabaseFault(
        "PgBouncer is restarted", Databases.restart_pooler, Databases.enter_pooler, Databases.leave_pooler
    ),
    "failover": DatabaseFault(
        "the primary is killed, the standby promoted", Databases.fail_over, restore=Databases.rebuild_standby
    ),
}


@contextmanager
def databases(pooler: str) -> Iterator[Databases]:
    """Yield running servers for the duration of a campaign, Debian's packages if they are installed."""
    with clusters(find_debian_programs()) as new, tempfile.TemporaryDirectory(prefix="budkavle-") as folder:
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(folder, account.pw_uid, account.pw_gid)
        servers = Databases(new, Path(folder), pooler)
        try:
            yield servers
        finally:
            servers.close()


def find_pooler_program() -> str | None:
    """Return the path of PgBouncer, or None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not is_so():
        if time.monotonic() > ends:
            raise RuntimeError(f"not within {WAIT_SECONDS} s: {what}")
        time.sleep(0.05)
