"""The service as its attackers meet it: on a port, on each database, with the mock Open-E behind it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog

from conftest import new_database, running_service
from contract_tests.attacks import (
    ATTACKED_DELIVERY,
    ATTACKED_IDENTITY,
    ATTACKED_SYSTEM,
    REFUSED_CASE,
    REFUSED_REFERENCE,
    request,
)
from contract_tests.raw_http import Answer, Connection
from contract_tests.schemathesis_hooks import (
    ALLOWED_PAIRS,
    QUEUED_DELIVERY,
    QUEUED_IDENTITY,
    QUEUED_SYSTEM,
    SYSTEM,
)
from open_e.mock import MockOpenE, mock_open_e
from tests.catalogue_rows import put_message_types, put_parked_message, put_system
from tests.handlers.callers import Certificate, new_certificate
from tests.mock_servers import running_mock

OURS = ("http://127.0.0.1",)
"""Addresses that Schemathesis really calls, while the mock stands in for all others."""


@dataclass(frozen=True)
class Target:
    """The running service, and what stands behind it."""

    port: int
    open_e: MockOpenE
    certificate: Certificate
    harm: list[object] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, *pieces: bytes) -> Answer:
        """The answer to one request, sent as it is."""
        with Connection(self.port) as connection:
            connection.send(*pieces)
            answer = connection.answer()
        assert answer is not None
        return answer

    def look_for_harm(self) -> list[object]:
        """What was stored or sent although it must be refused, and was not there when we looked last."""
        found = [
            *self.messages_about(**REFUSED_REFERENCE),
            *self.messages_about(**REFUSED_CASE),
            *self.subscriptions_of(ATTACKED_SYSTEM),
            *self.attacked_messages(),
            *(sent for sent in self.open_e.messages if str(sent["flowInstanceID"]) == REFUSED_CASE["value"]),
        ]
        new = [item for item in found if item not in self.harm]
        self.harm.extend(new)
        return new

    def is_alive(self) -> bool:
        return self.send(request(target="/health/live", key=None)).status == 200

    def attacked_messages(self) -> list[object]:
        """What waits for the subscription that must get nothing, beside what is parked there as it was."""
        headers = [f"Client-Cert: {self.certificate.header}"]
        path = f"/v1/abonnement/beskeder?systemIdentifier={QUEUED_SYSTEM}"
        found: list[object] = []
        while True:
            answer = self.send(request(target=path, headers=headers, key=None))
            assert answer.status == 200
            found += [
                item
                for item in answer.json()["beskeder"]
                if item["orgCode"] == ATTACKED_IDENTITY["orgCode"]
                and (item["leveringId"], item["status"]) != (ATTACKED_DELIVERY, "parkeret")
            ]
            if "link" not in answer.headers:
                return found
            path = answer.headers["link"].split(">")[0][1:]

    def subscriptions_of(self, system_id: str) -> list[object]:
        """What the service has stored for a system."""
        headers = [f"Client-Cert: {self.certificate.header}"]
        answer = self.send(request(target=f"/v1/abonnement?systemIdentifier={system_id}", headers=headers, key=None))
        assert answer.status == 200
        found: list[object] = answer.json()["abonnementer"]
        return found

    def messages_about(self, key: str, value: str) -> list[dict[str, object]]:
        """What the service has stored under a reference."""
        answer = self.send(request(target=f"/webmessages/external-references/{key}/{value}"))
        assert answer.status == 200
        messages: list[dict[str, object]] = answer.json()
        return messages


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One service for all attacks, which must survive them all; its database is its own."""
    url = new_database(request, tmp_path_factory.mktemp("contract"))
    external, internal = (f"http://open-e.test/{instance}/api/callback" for instance in ("external", "internal"))
    certificate = new_certificate()
    put_message_types(url, *ALLOWED_PAIRS)
    for system_id in (SYSTEM, ATTACKED_SYSTEM, QUEUED_SYSTEM):
        put_system(url, system_id, certificate.fingerprint)
    put_parked_message(url, QUEUED_SYSTEM, tuple(QUEUED_IDENTITY.values()), QUEUED_DELIVERY)
    put_parked_message(url, QUEUED_SYSTEM, tuple(ATTACKED_IDENTITY.values()), ATTACKED_DELIVERY)
    with (
        mock_open_e(url_external=external, url_internal=internal, passthrough=OURS) as open_e,
        running_service(
            database_url=url,
            open_e_external_url=external,
            open_e_internal_url=internal,
            trusted_proxies="127.0.0.1",
        ) as running,
    ):
        yield Target(running.port, open_e, certificate)


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
    target: Target = request.getfixturevalue("target")
    with structlog.testing.capture_logs() as entries:
        yield
    harm = target.look_for_harm()
    assert target.is_alive()
    assert [entry for entry in entries if entry["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert harm == []
