"""The suite of raw bytes on a server with other texts than ours: our service behind nginx."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, running_service
from contract_tests import evidence
from contract_tests.target import VARIABLE, CheckTarget, SubscriptionIdentity, read_certificate
from mock_open_e import MockOpenE
from tests.catalogue_rows import put_message_types, put_parked_message, put_system
from tests.certificates import Authority
from tests.mock_servers import running_mock
from tests.nginx import nginx_before
from tests.processes import REPOSITORY

SUITE = REPOSITORY / "contract_tests" / "raw_bytes"
SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
QUEUED, ATTACKED = SubscriptionIdentity(1, 101, 202), SubscriptionIdentity(1, 66606, 202)
PARKED = "2d3f4c1e-5798-41e9-ae24-57fa13b361e1"
DELIVERY = "3e4f4c1e-5798-41e9-ae24-57fa13b361e1"
EXTENTS = {"TLS": "framing or methods or subscription_sync", "http": "framing or methods or subscription"}
"""The part of the suite that runs here, because all of it takes more than a minute. With TLS, each request needs a
handshake.

The variable `RAW_BYTES_BEHIND_NGINX` selects another part; an empty word selects all.
"""


@pytest.fixture(params=EXTENTS)
def behind_nginx(request: pytest.FixtureRequest, migrated_sqlite: bytes, tmp_path: Path) -> Iterator[CheckTarget]:
    file = tmp_path / "test.db"
    file.write_bytes(migrated_sqlite)
    database_url = f"sqlite:///{file}"
    authority = Authority(tmp_path)
    caller, server = authority.issue(), authority.issue("127.0.0.1")
    tls = {"tls_cert": server.file, "tls_key": server.file, "client_ca": authority.file}
    put_message_types(database_url, (1, 202))
    put_system(database_url, SYSTEM, caller.fingerprint)
    put_parked_message(database_url, SYSTEM, tuple(QUEUED.json().values()), PARKED)
    put_parked_message(database_url, SYSTEM, tuple(ATTACKED.json().values()), DELIVERY)
    folder = tmp_path / "nginx"
    folder.mkdir()
    with (
        running_mock(MockOpenE()) as mock,
        running_service(
            database_url=database_url,
            open_e_external_url=f"{mock}/external/api/callback",
            open_e_internal_url=f"{mock}/internal/api/callback",
            trusted_proxies="127.0.0.1",
        ) as service,
        nginx_before(service.url, tls if request.param == "TLS" else None, folder) as url,
    ):
        target = CheckTarget(
            url,
            api_key=MESSAGES_KEY,
            publish_key=PUBLISH_KEY,
            certificate=read_certificate(caller.file, None),
            ca=str(authority.file),
            queued_delivery=PARKED,
            attacked_delivery=DELIVERY,
            allowed=((1, 202),),
        )
        yield target.with_one_system(SYSTEM, QUEUED, ATTACKED)


def test_gateway_may_use_its_own_texts(
    behind_nginx: CheckTarget, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = tmp_path / "target.json"
    behind_nginx.write(target)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "BUDKAVLE_"))}
    command = [sys.executable, "-m", "pytest", "--noconftest", "-c", SUITE.parent / "suite.ini"]
    options = [
        "--rootdir",
        REPOSITORY,
        "-p",
        "contract_tests.plugin",
        "-m",
        "not own",
        "-q",
        "-k",
        os.environ.get("RAW_BYTES_BEHIND_NGINX", EXTENTS[request.node.callspec.params["behind_nginx"]]),
        "--durations=12",
    ]
    result = subprocess.run(
        [*command, *options, SUITE],
        cwd=REPOSITORY,
        env={
            **inherited,
            VARIABLE: str(target),
            evidence.FOLDER: str(tmp_path),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    assert " skipped" not in result.stdout
