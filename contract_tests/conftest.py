"""Our own service as its attackers meet it: on a port, on each database, with the mock Open-E behind it.

The command `budkavle contract-check` leaves this out: there the target is somebody else's (`plugin.py`).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog

from conftest import MESSAGES_KEY, PUBLISH_KEY, new_database, running_service
from contract_tests import attacks, fitting
from contract_tests.fixtures import api, needs, own_set, sent  # noqa: F401  # The checks use these fixtures of the suites.
from contract_tests.harm import find_harm
from contract_tests.target import Certificate, Identity, Target
from open_e.mock import MockOpenE, mock_open_e
from tests.catalogue_rows import put_message_types, put_parked_message, put_system
from tests.handlers.callers import new_certificate
from tests.mock_servers import running_mock

OURS = ("http://127.0.0.1",)
"""Addresses that Schemathesis really calls, while the mock stands in for all others."""

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
"""The system that the caller may touch: that of the examples."""
ATTACKED_SYSTEM = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"
"""A system that must never have subscriptions: every sync of its set must be refused, or be of an empty one."""
QUEUED_SYSTEM = "1c2f4c1e-5798-41e9-ae24-57fa13b361e1"
"""A system for which messages wait; its subscriptions stay as they are."""
QUEUED = Identity(1, 101, 202)
QUEUED_DELIVERY = "2d3f4c1e-5798-41e9-ae24-57fa13b361e1"
ATTACKED = Identity(1, 66606, 202)
ATTACKED_DELIVERY = "3e4f4c1e-5798-41e9-ae24-57fa13b361e1"
ALLOWED = tuple(
    (org_type, entity_type)
    for org_type in (0, 1, 2, 8, 2147483647)
    for entity_type in (0, 1, 202, 203, 100008, 2147483647)
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What says nothing of the database is asked once."""
    items[:] = [
        item
        for item in items
        if item.get_closest_marker("one_database") is None
        or getattr(item, "callspec").params.get("attacked") != "postgresql"  # noqa: B009  # pytest says nothing of it.
    ]


@dataclass(frozen=True)
class Behind:
    """What stands behind the target, and what was found there that must not be."""

    open_e: MockOpenE
    harm: list[object] = field(default_factory=list)

    def look_for_harm(self, target: Target) -> list[object]:
        """What was stored or sent although it must be refused, and was not there when we looked last."""
        case = attacks.REFUSED_CASE["value"]
        on_case = [message for message in self.open_e.messages if str(message["flowInstanceID"]) == case]
        new = [item for item in [*find_harm(target), *on_case] if item not in self.harm]
        self.harm.extend(new)
        return new


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, Behind]]:
    """One service for all attacks, which must survive them all; its database is its own."""
    url = new_database(request, tmp_path_factory.mktemp("contract"))
    external, internal = (f"http://open-e.test/{instance}/api/callback" for instance in ("external", "internal"))
    certificate = new_certificate()
    put_message_types(url, *ALLOWED)
    for system_id in (SYSTEM, ATTACKED_SYSTEM, QUEUED_SYSTEM):
        put_system(url, system_id, certificate.fingerprint)
    put_parked_message(url, QUEUED_SYSTEM, tuple(QUEUED.json().values()), QUEUED_DELIVERY)
    put_parked_message(url, QUEUED_SYSTEM, tuple(ATTACKED.json().values()), ATTACKED_DELIVERY)
    with (
        mock_open_e(url_external=external, url_internal=internal, passthrough=OURS) as open_e,
        running_service(
            database_url=url,
            open_e_external_url=external,
            open_e_internal_url=internal,
            trusted_proxies="127.0.0.1",
        ) as running,
    ):
        target = Target(
            running.url,
            api_key=MESSAGES_KEY,
            publish_key=PUBLISH_KEY,
            certificate=Certificate("", None, certificate.header),
            system=SYSTEM,
            attacked_system=ATTACKED_SYSTEM,
            queued_system=QUEUED_SYSTEM,
            queued=QUEUED,
            attacked=ATTACKED,
            queued_delivery=QUEUED_DELIVERY,
            attacked_delivery=ATTACKED_DELIVERY,
            allowed=ALLOWED,
            case=1068,
            own_words=True,
        )
        fitting.use(target)
        yield target, Behind(open_e)


@pytest.fixture(scope="package")
def target(attacked: tuple[Target, Behind]) -> Target:
    """The service, as the suites know it."""
    return attacked[0]


@pytest.fixture(scope="package")
def mock_url() -> Iterator[str]:
    """The mock Open-E as partners run it, on a port."""
    with running_mock(MockOpenE()) as url:
        yield url


@pytest.fixture(autouse=True)
def _target_stays_unharmed(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each attack: the service answers, logged no fault of its own, and has taken nothing that it refused."""
    if "target" not in request.fixturenames:
        yield
        return
    target, behind = request.getfixturevalue("attacked")
    with structlog.testing.capture_logs() as entries:
        yield
    harm = behind.look_for_harm(target)
    assert target.send(attacks.request(target="/health/live", key=None)).status == 200
    assert [entry for entry in entries if entry["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert harm == []
