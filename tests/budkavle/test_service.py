"""The assembled service."""

import httpx

from budkavle.demo.subscriptions import CLIENT_CERT, FINGERPRINT
from budkavle.ids import new_id
from budkavle.service import create_service, server_config, spec_dir
from budkavle.settings import Settings
from conftest import running_server
from domain.api_keys import SCOPES, ApiKey, hash_key
from tests.budkavle.queues import queued, subscribe
from tests.catalogues import SYSTEM_ID
from tests.factories import NOW, message_body


def test_spec_dir_contains_the_contracts() -> None:
    assert {"operations.yaml", "web-messages.yaml"} <= {path.name for path in spec_dir().iterdir()}


def test_new_id_is_unique() -> None:
    assert len({new_id() for _ in range(100)}) == 100


def test_server_config_ignores_proxy_headers_and_sends_no_server_header() -> None:
    config = server_config(Settings(shutdown_timeout=7), lambda: None)
    assert (config.proxy_headers, config.server_header, config.timeout_graceful_shutdown) == (False, False, 7)


class Sleeper:
    """A worker that does nothing after it is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def test_create_service_wakes_its_worker_after_new_deliveries(sqlite_url: str) -> None:
    subscribe(sqlite_url, certificates=frozenset({FINGERPRINT}))
    settings = Settings(database_url=sqlite_url, trusted_proxies="127.0.0.1")
    sleeper = Sleeper()
    key = ApiKey(hash_key(b"key"), "tests", SCOPES, NOW)
    application = create_service(settings, extra_keys=(key,), worker=sleeper)
    subscription = {"orgType": 1, "orgCode": 101, "entityType": 202}
    headers = {"apikey": "key", "Client-Cert": CLIENT_CERT}
    with (
        running_server(settings, application) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False) as client,
    ):

        def post(path: str, body: object) -> tuple[int, int]:
            return client.post(path, json=body).status_code, sleeper.woken

        assert post("/v1/besked", {**subscription, "aendringstype": 4}) == (400, 0)
        assert post("/v1/besked", {**subscription, "aendringstype": 1}) == (202, 1)
        test = {"systemIdentifier": SYSTEM_ID, **subscription}
        assert post("/v1/abonnement/testbesked", test) == (202, 2)
        replay = {"systemIdentifier": SYSTEM_ID, "leveringIds": [queued(sqlite_url)[0].id]}
        assert post("/v1/abonnement/beskeder/genfremsend", replay) == (200, 3)
        assert post("/webmessages", message_body()) == (201, 4)
        assert client.get("/health/live").status_code == 200
    assert sleeper.woken == 4
