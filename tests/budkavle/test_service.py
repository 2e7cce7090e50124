"""The assembled service."""

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from budkavle.demo.subscriptions import CLIENT_CERT, FINGERPRINT
from budkavle.ids import create_id
from budkavle.open_e_file import read_municipal_accounts
from budkavle.service import build_server_config, create_service, find_spec_dir
from budkavle.settings import Settings
from conftest import running_server
from domain.api_keys import ApiKey, hash_key
from handlers.contracts import CONTRACTS
from persistence.database import Database
from persistence.work import short_write
from tests.budkavle.queues import list_queue, subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW, build_message_body
from tests.waiting import LIMIT_SECONDS, wait_until


def test_spec_dir_contains_the_contracts() -> None:
    assert {"operations.yaml", "web-messages.yaml"} <= {path.name for path in find_spec_dir().iterdir()}


def test_new_id_is_unique() -> None:
    assert len({create_id() for _ in range(100)}) == 100


def test_server_config_ignores_proxy_headers_and_sends_no_server_header() -> None:
    config = build_server_config(Settings(shutdown_timeout=7), lambda: None)
    assert (config.proxy_headers, config.server_header, config.timeout_graceful_shutdown) == (False, False, 7)


class Sleeper:
    """A worker that does nothing after it is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self, *, is_certain: bool = True) -> None:
        self.woken += 1


def test_create_service_wakes_its_worker_after_new_deliveries(sqlite_url: str) -> None:
    subscribe(sqlite_url, certificates=frozenset({FINGERPRINT}))
    settings = Settings(database_url=sqlite_url, trusted_proxies="127.0.0.1")
    sleeper = Sleeper()
    key = ApiKey(hash_key(b"key"), "tests", ("messages", "publish"), NOW)
    application = create_service(settings, extra_keys=(key,), worker=sleeper)
    subscription = {"orgType": 1, "orgCode": 101, "entityType": 202}
    headers = {"apikey": "key", "Client-Cert": CLIENT_CERT}
    with (
        running_server(settings, application) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False, verify=False) as client,
    ):

        def post(path: str, body: object) -> tuple[int, int]:
            return client.post(path, json=body).status_code, sleeper.woken

        assert post("/v1/besked", {**subscription, "aendringstype": 4}) == (400, 0)
        assert post("/v1/besked", {**subscription, "aendringstype": 1}) == (202, 1)
        test = {"systemIdentifier": SYSTEM_ID, **subscription}
        assert post("/v1/abonnement/testbesked", test) == (202, 2)
        replay = {"systemIdentifier": SYSTEM_ID, "leveringIds": [list_queue(sqlite_url)[0].id]}
        assert post("/v1/abonnement/beskeder/genfremsend", replay) == (200, 3)
        assert post("/webmessages", build_message_body()) == (201, 4)
        assert client.get("/health/live").status_code == 200
    assert sleeper.woken == 4


@pytest.mark.parametrize("path", ["/v1/besked", "/webmessages"])
def test_create_service_wakes_the_worker_of_another_process(database_url: str, path: str) -> None:
    subscribe(database_url)
    bodies: dict[str, Any] = {
        "/v1/besked": {"orgType": 1, "orgCode": 101, "entityType": 202, "aendringstype": 1},
        "/webmessages": build_message_body(),
    }
    mapping = sa.text(
        "insert into web_message_events (number, org_type, org_code, entity_type) values (1, 1, 101, 202)"
    )
    settings = Settings(database_url=database_url)
    application = create_service(
        settings, extra_keys=(ApiKey(hash_key(b"key"), "tests", ("messages", "publish"), NOW),)
    )

    async def watch(database: Database) -> None:
        woken = asyncio.Event()
        await database.write(short_write(lambda connection: connection.execute(mapping)))
        async with asyncio.timeout(LIMIT_SECONDS), database.watch_deliveries(woken.set) as is_watched:
            await wait_until(is_watched)
            woken.clear()
            response = await asyncio.to_thread(client.post, path, json=bodies[path])
            assert response.is_success
            await woken.wait()

    with (
        running_server(settings, application) as url,
        httpx.Client(base_url=url, headers={"apikey": "key"}, trust_env=False, verify=False) as client,
    ):
        run_with_database(database_url, watch)


def test_create_service_reads_the_file_of_municipalities_once(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "open-e.yaml"
    path.write_text('municipalities: {"2281": {external: {url: "https://e.example/api/callback"}}}')
    reads = []

    def note_call(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is read_municipal_accounts.__code__:
            reads.append(frame.f_locals["path"])

    sys.setprofile(note_call)
    try:
        create_service(Settings(database_url=sqlite_url, open_e_municipalities=path), contracts=CONTRACTS)
    finally:
        sys.setprofile(None)
    assert reads == [path]
