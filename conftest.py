"""Fixtures for all tests: databases of each kind, and the service on a real socket.

Each fixture imports what it needs: a test of pure functions begins without the service and its libraries.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.every_test_runs import (
    pytest_collection_finish,  # noqa: F401  # The import registers this hook and the following ones.
    pytest_collection_modifyitems,  # noqa: F401
    pytest_runtest_logreport,  # noqa: F401
    pytest_sessionfinish,  # noqa: F401
    pytest_xdist_node_collection_finished,  # noqa: F401
)
from tests.response_recording import (
    pytest_runtest_call,  # noqa: F401  # The import registers this hook and the following ones.
    pytest_runtest_setup,  # noqa: F401
    pytest_runtest_teardown,  # noqa: F401
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

    from budkavle.settings import Settings
    from mock_open_e import MockOpenE
    from persistence.database import Database
    from tests.held_open_e import HeldOpenE
    from tests.postgresql import PostgresqlServer

pytest_plugins = [
    "tests.assertion_rewriting",
    "tests.file_order",
    "tests.garbage_collection",
    "tests.interrupts",
    "tests.quick_start",
    "tests.temporary_files",
]

# Use constants: pytest and tests import this file as different modules.
MESSAGES_KEY = "messages-key-of-the-tests"
PUBLISH_KEY = "publish-key-of-the-tests"


async def _migrate(url: str) -> None:
    from persistence.opening import open_database

    database = open_database(url)
    await database.migrate()
    await database.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    from tests.postgresql import PostgresqlServer

    # Do not use pytest's own folder: if root runs the tests, PostgreSQL runs as another user without access to it.
    with tempfile.TemporaryDirectory(prefix="budkavle-") as folder:
        Path(folder).chmod(0o711)
        server = PostgresqlServer(Path(folder) / "postgresql")
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path.read_bytes()


@pytest.fixture
def sqlite_url(migrated_sqlite: bytes, tmp_path: Path) -> str:
    """Return the URL of a migrated, empty SQLite database."""
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a migrated, empty database of each kind."""
    url = create_database(request, tmp_path)
    yield url
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_server").give_back(url)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Yield a migrated, empty database of each kind, within the event loop of the test."""
    from persistence.opening import open_database

    opened = open_database(database_url)
    yield opened
    await opened.close()


def create_database(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a migrated, empty database of the kind in the fixture's parameter."""
    if request.param == "sqlite":
        path = folder / "test.db"
        path.write_bytes(request.getfixturevalue("migrated_sqlite"))
        return f"sqlite:///{path}"
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return server.create_migrated()


@dataclass
class RunningService:
    """The running service. `client` sends the messages key; `settings` are the settings of the service."""

    url: str
    client: httpx.Client
    settings: Settings

    @property
    def port(self) -> int:
        import httpx

        return httpx.URL(self.url).port or 0


@contextmanager
def running_service(**overrides: Any) -> Iterator[RunningService]:
    """Run the service in a thread of this process, so that `responses` reaches its Open-E client.

    A response that violates its contract is sent unchanged, and fails the test (`tests/response_recording.py`).
    """
    from budkavle.service import create_service
    from budkavle.settings import Settings
    from domain.api_keys import ApiKey, hash_key
    from tests.budkavle.services import create_plain_client
    from tests.factories import NOW

    # Tests of rejections must not reach the limit of failed authentications, and those of failing calls must not
    # open the circuit. Messages stay in doubt while a test looks at them, unless it sets the interval.
    quiet = {"failed_authentications": 1_000_000, "open_e_pause_after": 100_000, "settle_interval": 86_400}
    settings = Settings(**quiet | overrides)
    keys = (
        ApiKey(hash_key(MESSAGES_KEY.encode()), "tests", ("messages",), NOW),
        ApiKey(hash_key(PUBLISH_KEY.encode()), "publisher", ("publish",), NOW),
    )
    application = create_service(settings, extra_keys=keys)
    kind = "compatibility" if settings.compatibility_apis else "service"
    with (
        running_server(settings, application, kind=kind) as url,
        create_plain_client(url, MESSAGES_KEY) as client,
    ):
        yield RunningService(url, client, settings)


@contextmanager
def running_server(
    settings: Settings, application: Any, *, is_service: bool = True, kind: str = "service"
) -> Iterator[str]:
    """Run an application in a thread of this process with the server of the service, and yield its URL.

    The responses of a service are compared with the contracts of its kind.
    """
    from budkavle.service import build_server_config
    from budkavle.tls import build_server_context
    from openapi.server.serving import QuietServer, build_address, listen, run_loop
    from tests.response_recording import RecordingApp

    config = build_server_config(
        settings,
        RecordingApp(application, kind) if is_service else application,
        tls=build_server_context(settings),
    )
    listener = listen("127.0.0.1", 0)
    server = QuietServer(config)
    started = threading.Event()

    async def serve() -> None:
        task = asyncio.create_task(server.serve([listener]))
        while not server.started and not task.done():  # noqa: ASYNC110  # uvicorn has no event for it.
            await asyncio.sleep(0.001)
        started.set()
        await task

    thread = threading.Thread(target=lambda: run_loop(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield build_address(listener, tls=config.is_ssl)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture
def open_e() -> Iterator[MockOpenE]:
    """Yield a mock Open-E for all calls with `requests` in this process."""
    from mock_open_e import mock_open_e

    with mock_open_e() as mock:
        yield mock


@pytest.fixture
def held() -> Iterator[HeldOpenE]:
    """Yield a mock Open-E on a port that delays its responses until they are released."""
    from tests.held_open_e import held_open_e

    with held_open_e() as open_e:
        yield open_e


@pytest.fixture
def service(database_url: str, open_e: MockOpenE) -> Iterator[RunningService]:
    """Yield the running service on each kind of database, with a mock Open-E."""
    with running_service(
        database_url=database_url,
        open_e_external_url="http://open-e.test/external/api/callback",
        open_e_internal_url="http://open-e.test/internal/api/callback",
    ) as running:
        yield running


@pytest.fixture
def run() -> Callable[[Any], Any]:
    """Return a function that runs a coroutine."""
    return asyncio.run


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> None:
    from openapi.observation.logs import set_up_logs

    set_up_logs("json", "error")


def create_unique_id() -> str:
    return str(uuid.uuid4())
