"""Run our own service for the checks: on a port, on each database, with the mock Open-E.

The command `budkavle contract-check` does not use this file: it has its own target (`plugin.py`).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog

from conftest import create_database, running_service
from contract_tests import adapting, attacks
from contract_tests.fixtures import api, needs, own_set, sent  # noqa: F401  # The checks use these fixtures of the suites.
from contract_tests.suites import COMPATIBILITY_SPECS, SPECS, find_spec
from contract_tests.target import CheckTarget
from contract_tests.unwanted_data import find_unwanted_data
from mock_open_e import MockOpenE, mock_open_e
from tests.check_target import create_check_target, put_target_rows, write_issuer_files
from tests.database_writes import Mark, watching_writes
from tests.handlers.callers import create_certificate
from tests.mock_servers import running_mock

OURS = ("http://127.0.0.1",)
"""Addresses that Schemathesis calls through the network. The mock handles all others."""


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin of Schemathesis. pyproject.toml excludes it from other tests: its import takes a second."""
    config.pluginmanager.import_plugin("schemathesis.pytest.plugin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that do not depend on the database on one database only.

    So do the rules that `tests/contract_tests/test_check.py` runs on PostgreSQL, on a service without tokens.

    The token of these tests has all scopes, and is not bound: `tests/contract_tests/test_check_tokens.py` runs those of
    other tokens.
    """
    items[:] = [item for item in items if not _is_of_another_token(item)]
    items[:] = [
        item
        for item in items
        if not (_is_on_postgresql(item) and (item.get_closest_marker("one_database") or _is_in_quick_check(item)))
    ]


def _is_on_postgresql(item: pytest.Item) -> bool:
    # pytest declares no such attribute.
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("attacked") == "postgresql"


def _is_of_another_token(item: pytest.Item) -> bool:
    return bool(_list_needs(item) & {"token_without_messages", "token_without_events", "has_bound_token"})


def _is_in_quick_check(item: pytest.Item) -> bool:
    """Return whether a quick check of a service without tokens and compatibility APIs runs this test."""
    if item.path.parent.name != "rules" or find_spec(item.path.name) not in SPECS:
        return False
    is_of_tokens = any("token" in name for name in _list_needs(item))
    return not (is_of_tokens or item.get_closest_marker("own") or item.get_closest_marker("full"))


def _list_needs(item: pytest.Item) -> set[str]:
    return {name for mark in item.iter_markers("needs") for name in mark.args}


@dataclass
class Backend:
    """The mock and the database behind the target, and the unwanted data found there."""

    open_e: MockOpenE
    mark: Mark
    unwanted: list[object] = field(default_factory=list)
    checked_mark: object = None

    def find_new_unwanted_data(self, target: CheckTarget) -> list[object]:
        """Return messages that were stored or sent although they must be rejected, without those found before.

        The service is only queried after a write, because most attacks write nothing. Writes during the queries are
        found after the next write or at the end.
        """
        case = attacks.REFUSED_CASE["value"]
        found: list[object] = [message for message in self.open_e.messages if str(message["flowInstanceID"]) == case]
        if self.mark() != self.checked_mark:
            found += find_unwanted_data(target)
            # The queries themselves write audit entries.
            self.checked_mark = self.mark()
        new = [item for item in found if item not in self.unwanted]
        self.unwanted.extend(new)
        return new


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CheckTarget, Backend]]:
    """Yield one service with its own database for all attacks. It must survive them all."""
    folder = tmp_path_factory.mktemp("contract")
    url = create_database(request, folder)
    issuers, tokens = write_issuer_files(folder)
    external, internal = (f"http://open-e.test/{instance}/api/callback" for instance in ("external", "internal"))
    certificate = create_certificate()
    put_target_rows(url, certificate)
    with (
        mock_open_e(url_external=external, url_internal=internal, passthrough=OURS) as open_e,
        running_service(
            database_url=url,
            open_e_external_url=external,
            open_e_internal_url=internal,
            trusted_proxies="127.0.0.1",
            issuers=issuers,
            compatibility_apis=",".join(COMPATIBILITY_SPECS),
        ) as running,
        watching_writes(url) as mark,
    ):
        target = create_check_target(running.url, certificate, tokens)
        adapting.set_target(target)
        backend = Backend(open_e, mark)
        yield target, backend
        backend.checked_mark = None
        assert backend.find_new_unwanted_data(target) == []


@pytest.fixture(scope="package")
def target(attacked: tuple[CheckTarget, Backend]) -> CheckTarget:
    """Return the service as the target of the suites."""
    return attacked[0]


# Without a parameter Schemathesis gives all operations of a contract the same node id.
@pytest.fixture(scope="package", params=["mock"])
def mock_url() -> Iterator[str]:
    """Yield the URL of a mock Open-E on a port, as partners run it."""
    with running_mock(MockOpenE()) as url:
        yield url


@pytest.fixture(autouse=True)
def _assert_no_unwanted_data(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Assert after each attack that the service responds, logged no error and stored nothing that it rejected."""
    if "target" not in request.fixturenames:
        yield
        return
    target, backend = request.getfixturevalue("attacked")
    with structlog.testing.capture_logs() as entries:
        yield
    unwanted = backend.find_new_unwanted_data(target)
    assert target.send(attacks.request(target="/health/live", key=None)).status == 200
    assert [entry for entry in entries if entry["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert unwanted == []
