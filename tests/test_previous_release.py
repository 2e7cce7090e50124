"""The previous release keeps working while the database is migrated to this version, and afterwards.

The release is the newest tag `v*` before this commit, or the first one in a clone without tags. A clone without that
commit cannot run these tests, and reports them as skipped.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from budkavle.demo.subscriptions import CLIENT_CERT, SYSTEM_ID
from budkavle.demo.web_messages import KEY
from budkavle.settings import PREFIX, Settings
from persistence.tables import web_messages
from tests.budkavle.services import create_plain_client
from tests.databases import run_with_database
from tests.factories import build_case_body
from tests.persistence.queues import list_rows
from tests.processes import REPOSITORY, budkavle, run_program, running
from tests.programs import forget_ports
from tests.waiting import block_until

FIRST = "21fad0d4fa7c8888b530ee62c42d3b85690c8f6a"
"""Release 1.0.0."""

PROGRAM = """
import budkavle.program, pathlib
print("Code of", pathlib.Path(budkavle.__file__).parents[1])
budkavle.program.main()
"""
EVENT = {
    "entityType": 202,
    "orgType": 1,
    "orgCode": 101,
    "aendringstype": 1,
    "identifikationstypeId": 1,
    # No real personal number: there is no month 99.
    "identifikation": "9999999999",
    "body": {},
}
ENOUGH = 5
"""Rounds of calls before, and after, the migration."""


def run_git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=True).stdout


def find_previous_release() -> str:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone, or git is missing")
    tags = run_git("tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD", "--sort=-version:refname")
    release = next(iter(tags.decode().split()), FIRST)
    try:
        run_git("cat-file", "-e", f"{release}^{{commit}}")
    except subprocess.CalledProcessError:
        pytest.skip(f"this clone lacks {release}: git fetch --unshallow --tags")
    return release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the code of the previous release."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(fileobj=BytesIO(run_git("archive", find_previous_release()))) as archive:
        # Python 3.11.3 and earlier have no filters; later ones require one.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("postgresql_server").create_empty(f"released_{uuid.uuid4().hex}")
    return url


class Callers:
    """Threads that post, read and delete messages, publish events and sync. None of their calls may fail."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._is_stopping = False
        self.rounds = 0
        self.messages: list[str] = []
        self.events: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with create_plain_client(self._service, KEY) as client:
            while not self._is_stopping:
                try:
                    self._make_calls(client)
                except AssertionError as exc:
                    self.failures.append(str(exc))
                self.rounds += 1

    def _make_calls(self, client: httpx.Client) -> None:
        kept, deleted = (self._post(client) for _ in range(2))
        assert client.get(kept).status_code == 200
        assert client.delete(deleted).status_code == 204
        self.messages.append(kept)
        published = client.post("/v1/besked", json=EVENT)
        assert published.status_code == 202, published.text
        self.events.append(published.json()["beskedId"])
        query = {"systemIdentifier": SYSTEM_ID}
        listed = client.get("/v1/abonnement", params=query, headers={"Client-Cert": CLIENT_CERT})
        assert listed.status_code == 200, listed.text

    @staticmethod
    def _post(client: httpx.Client) -> str:
        posted = client.post("/webmessages", json=build_case_body(), headers={"Idempotency-Key": uuid.uuid4().hex})
        assert posted.status_code == 201, posted.text
        return posted.headers["Location"]

    def stop(self) -> None:
        self._is_stopping = True


@contextmanager
def calling(service: str) -> Iterator[Callers]:
    callers = Callers(service)
    threads = [threading.Thread(target=callers.run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        callers.stop()
        for thread in threads:
            thread.join()
    assert callers.failures == []


@contextmanager
def running_release(release: Path, database_url: str) -> Iterator[tuple[str, str]]:
    """Run the demo of a release: a service, a worker and a receiver. Yield the addresses of service and receiver."""
    ports = ("--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0")
    with running(sys.executable, "-c", PROGRAM, "dev", *ports, folder=release, database_url=database_url) as process:
        assert process.wait_for("Code of ") == str(release)
        process.wait_for("Ctrl-C")
        found: dict[str, Any] = dict(re.findall(r"^(\S.*?):\s+(http\S+)$", "".join(process.out), re.MULTILINE))
        # The contracts of this version are not those of the release.
        forget_ports(process)
        yield found["API pages"].removesuffix("/docs"), found["Receiver of events"]


def test_previous_release_works_while_and_after_the_database_is_migrated(release: Path, empty_url: str) -> None:
    """Its service and its worker."""
    with running_release(release, empty_url) as (service, receiver):
        with calling(service) as callers:
            block_until(lambda: callers.rounds >= ENOUGH)
            assert run_program(*budkavle("migrate"), database_url=empty_url).returncode == 0
            reached = callers.rounds
            block_until(lambda: callers.rounds >= reached + ENOUGH)
        block_until(lambda: callers.events[-1] in httpx.get(receiver, trust_env=False, verify=False).text)
    # Its programs also start on the new tables.
    started = run_program(sys.executable, "-c", PROGRAM, "api-key", "list", folder=release, database_url=empty_url)
    assert started.returncode == 0
    run_with_database(empty_url, lambda database: database.check_version())
    found = {row["id"] for row in run_with_database(empty_url, lambda database: list_rows(database, web_messages))}
    assert {path.rpartition("/")[2] for path in callers.messages} <= found
    assert run_program(*budkavle("audit", "verify", "--state"), database_url=empty_url).returncode == 0


def test_settings_of_this_version_do_not_stop_the_previous_release(release: Path) -> None:
    """Both may have the same environment. A new setting must not look like a misspelt old one."""
    check = "import sys; from budkavle.variables import check_variables; check_variables(sys.argv[1:])"
    names = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert run_program(sys.executable, "-c", check, *names, folder=release).returncode == 0
