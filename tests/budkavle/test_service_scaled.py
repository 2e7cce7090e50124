"""Two machines behind HAProxy on one PostgreSQL, with the configuration of docs/explanation/scaling.md."""

import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.budkavle.services import KEY, put_key
from tests.certificates import Authority
from tests.factories import build_message_body
from tests.haproxy import running_haproxy
from tests.nginx import block
from tests.postgresql import PostgresqlServer
from tests.processes import budkavle, running
from tests.shown_commands import read_block_in

PAGE = "docs/explanation/scaling.md"
SERVE = budkavle("serve", "--port", "0", "--processes", "2")
LINE = "Budkavle listens on "


@pytest.fixture
def database_url(postgresql_server: PostgresqlServer) -> str:
    url = postgresql_server.create_migrated()
    put_key(url)
    return url


def test_machine_can_stop_while_messages_are_posted(
    database_url: str, authority: Authority, tls: dict[str, Path], tmp_path: Path
) -> None:
    # HAProxy notices a stop after two checks; faster ones keep the test short.
    checks = {"inter 2s": "inter 100ms"}
    defaults = block("haproxy").partition("frontend ")[0]
    settings = {"database_url": database_url, "trusted_proxies": "127.0.0.1", "drain_seconds": 2}
    with running(*SERVE, **settings) as one, running(*SERVE, **settings) as two:
        machines = {
            "10.0.0.1:8080": urlsplit(one.wait_for(LINE)).netloc,
            "10.0.0.2:8080": urlsplit(two.wait_for(LINE)).netloc,
        }
        configuration = defaults + read_block_in(PAGE, "haproxy")
        with (
            running_haproxy(configuration, machines | checks, tls, tmp_path) as proxy,
            authority.client(proxy) as client,
        ):
            client.headers["apikey"] = KEY
            created = []
            while one.is_running:
                if len(created) == 20:
                    one.send(signal.SIGTERM)
                response = client.post("/webmessages", json=build_message_body())
                assert response.status_code == 201
                created.append(response.headers["location"])
            assert one.wait() == 0
            assert len(created) > 20
            for path in created:
                assert client.get(path).status_code == 200
