"""`budkavle doctor`: an installation without problems, and each problem planted once."""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from budkavle.clock import now
from domain.catalogue import ClientCertificate, StaticHeader, TokenClient
from domain.deliveries import AttemptOutcome, Reason
from mock_open_e import MockOpenE
from persistence.work import short_write
from tests.budkavle.commands.test_deliveries import settle
from tests.budkavle.commands.test_web_messages import store_unsettled_messages
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import publish, subscribe
from tests.budkavle.test_delivering import running_worker
from tests.catalogues import SYSTEM_ID
from tests.certificates import DAY, TODAY, Authority
from tests.databases import run_with_database
from tests.issuers import write_issuers
from tests.mock_servers import running_mock
from tests.pgbouncer import pgbouncer_before
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import tcp_proxy
from tests.tokens import create_token_key

CHECKS = [
    "settings",
    "database",
    "migrations",
    "clock",
    "queue",
    "messages",
    "audit",
    "receivers",
    "open-e external",
    "open-e internal",
    "secrets",
    "certificates",
    "issuers",
    "municipalities",
    "machine",
]
NEED_DATABASE = CHECKS[2:8]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BUDKAVLE_")]:
        monkeypatch.delenv(name)


def examine(invoke: Invoke, url: str, **settings: object) -> dict[str, dict[str, list[str]]]:
    """Return the texts and remedies of the findings, by check and status."""
    result = invoke(url, "doctor", "--json", **{name: str(value) for name, value in settings.items()})
    assert result.stderr == ""
    report = json.loads(result.stdout)
    found: dict[str, dict[str, list[str]]] = {}
    for each in report["findings"]:
        assert bool(each["remedy"]) is (each["status"] in {"warning", "problem"})
        texts = found.setdefault(each["check"], {}).setdefault(each["status"], [])
        texts.append(f"{each['text']} -> {each['remedy']}" if each["remedy"] else each["text"])
    has_problem = any("problem" in statuses for statuses in found.values())
    assert (report["status"], result.exit_code) == (("problem", 1) if has_problem else ("ok", 0))
    assert list(found) == CHECKS
    return found


UNSAFE = {
    f"{name} is off: a crash may lose committed data -> correct {name} of the database"
    for name in ("fsync", "full_page_writes")
}
"""The problems of the PostgreSQL server of the tests."""


def list_faulty(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return the checks with anything but `ok`."""
    return [check for check, statuses in found.items() if statuses.keys() != {"ok"}]


def list_problems(found: dict[str, dict[str, list[str]]], check: str, status: str = "problem") -> str:
    """Return the problems of the only faulty check as one text."""
    assert list_faulty(found) == [check]
    return "\n".join(found[check][status])


@pytest.fixture
def password() -> str:
    return "an-account-of-open-e"


@pytest.fixture
def mock_address(password: str) -> Iterator[tuple[MockOpenE, str]]:
    mock = MockOpenE(username="budkavle", password=password)
    with running_mock(mock) as address:
        yield mock, address


@pytest.fixture
def configured(
    mock_address: tuple[MockOpenE, str], password: str, authority: Authority, tmp_path: Path
) -> dict[str, object]:
    """Return the settings of an installation with everything."""
    own = authority.issue("localhost", begins=TODAY - DAY, ends=TODAY + 200 * DAY)
    own.file.chmod(0o600)
    settings: dict[str, object] = {
        "tls_cert": own.file,
        "tls_key": own.file,
        "client_ca": authority.file,
        "issuers": write_issuers(tmp_path, create_token_key()),
        "worker_port": 9,
        "max_connections": 100,
    }
    for instance in ("external", "internal"):
        settings |= {
            f"open_e_{instance}_url": f"{mock_address[1]}/{instance}/api/callback",
            f"open_e_{instance}_username": "budkavle",
            f"open_e_{instance}_password": password,
        }
    return settings


def test_doctor_finds_no_problem_in_a_good_installation(
    database_url: str,
    invoke: Invoke,
    configured: dict[str, object],
    mock_address: tuple[MockOpenE, str],
    password: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "whsec_" + "A" * 32
    monkeypatch.setenv("THE_SECRET", secret)
    subscribe(database_url, webhook_secrets=("env:THE_SECRET",), headers=(StaticHeader("X-Api-Key", "env:THE_SECRET"),))
    publish(database_url)
    operator = {"operator_webhook_url": "https://operator.example/", "operator_webhook_secret": "env:THE_SECRET"}
    found = examine(invoke, database_url, **configured | operator)
    if database_url.startswith("postgresql"):
        assert set(found["database"].pop("problem")) == UNSAFE
    assert list_faulty(found) == []
    assert "answers in" in found["database"]["ok"][0]
    queue = r"1 waiting \(0 behind others of their key\), oldest \d+ seconds, 0 parked; no worker process answers at .+"
    assert re.fullmatch(queue, found["queue"]["ok"][0])
    assert "the callback answers, and accepts the account" in found["open-e external"]["ok"]
    assert "the messageapi answers" in found["open-e internal"]["ok"]
    assert "1 secrets for gateways in the catalogue" in found["receivers"]["ok"]
    assert "BUDKAVLE_OPERATOR_WEBHOOK_SECRET is a secret" in found["secrets"]["ok"]
    assert password not in str(found)
    assert secret not in str(found)
    # It sends and reads no message.
    assert {call.refusal for call in mock_address[0].list_calls()} == {None}
    assert mock_address[0].messages == []


def test_doctor_prints_a_line_per_finding_with_the_remedy(sqlite_url: str, invoke: Invoke) -> None:
    result = invoke(sqlite_url, "doctor", prot="1", audit_seal_key="/nowhere")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "problem settings BUDKAVLE_PROT is not a setting" in lines
    assert lines[lines.index("problem settings BUDKAVLE_PROT is not a setting") + 1] == "-> did you mean BUDKAVLE_PORT?"
    assert any(line.startswith("problem settings BUDKAVLE_AUDIT_SEAL_KEY: ") for line in lines)
    assert lines[-1].endswith(" ok, 2 problem")


def test_doctor_checks_everything_else_without_a_database(invoke: Invoke, tmp_path: Path) -> None:
    for url, text in {
        f"sqlite:///{tmp_path}/missing.db": "there is no database file",
        "mysql://budkavle:s3cret@host/db": "must begin with",
        "postgresql://budkavle:s3cret@127.0.0.1:1/db": "127.0.0.1:1",
    }.items():
        found = examine(invoke, url, database_connect_timeout="0.3", database_pool_timeout="0.1")
        assert list_faulty(found) == ["database", *NEED_DATABASE]
        assert text in found["database"]["problem"][0]
        assert "s3cret" not in str(found)
        assert all(found[check] == {"skipped": ["the database cannot be used"]} for check in NEED_DATABASE)
    assert list(tmp_path.iterdir()) == []


def test_doctor_ends_although_the_database_is_silent(postgresql_server: PostgresqlServer, invoke: Invoke) -> None:
    with tcp_proxy(postgresql_server.socket) as proxy:
        proxy.freeze(is_deaf=True)
        began = time.monotonic()
        found = examine(invoke, f"postgresql://budkavle@127.0.0.1:{proxy.port}/x", database_connect_timeout="0.5")
        assert time.monotonic() - began < 8
    assert list_faulty(found) == ["database", *NEED_DATABASE]


def test_doctor_reports_tables_of_another_version(
    sqlite_url: str, postgresql_server: PostgresqlServer, invoke: Invoke
) -> None:
    @short_write
    def set_version(connection: sa.Connection, number: str) -> None:
        connection.execute(
            sa.text("update alembic_version set version_num = :number, oldest = :number"), {"number": number}
        )

    empty = postgresql_server.create_empty(f"empty_{uuid.uuid4().hex}")
    urls = {empty: "no tables of this program -> run 'budkavle migrate'"}
    for number, text in {"0001": "at version 0001, this program needs", "9999": "upgrade the program"}.items():
        run_with_database(sqlite_url, lambda database, number=number: database.write(set_version, number))
        found = examine(invoke, sqlite_url)
        assert text in found["migrations"]["problem"][0]
    for url, text in urls.items():
        found = examine(invoke, url)
        assert text in found["migrations"]["problem"][0]
        assert list_faulty(found) == ["database", "migrations", "queue", "messages", "audit", "receivers"]
        assert found["queue"] == {"skipped": ["the tables are not those of this version"]}


def test_doctor_reports_a_read_only_server_and_too_few_connections(
    postgresql_server: PostgresqlServer, invoke: Invoke
) -> None:
    name = f"read_only_{uuid.uuid4().hex}"
    url = postgresql_server.create_empty(name)
    found = examine(invoke, url, database_pool_size="900")
    assert "one process may open 910 connections" in found["database"]["warning"][0]
    postgresql_server.execute(f"alter database {name} set default_transaction_read_only = on")
    assert "read-only" in examine(invoke, url)["database"]["problem"][0]


def test_doctor_names_the_pooler(postgresql_server: PostgresqlServer, invoke: Invoke) -> None:
    url = postgresql_server.create_migrated()
    with pgbouncer_before(url, "transaction") as bouncer:
        found = examine(invoke, bouncer.url(pooler="transaction"))
    assert set(found["database"].pop("problem")) == UNSAFE
    assert list_faulty(found) == []
    assert "through a pooler in transaction mode" in found["database"]["ok"][0]
    postgresql_server.give_back(url)


def test_doctor_reports_deliveries_that_wait_or_are_parked(sqlite_url: str, invoke: Invoke) -> None:
    subscribe(sqlite_url)
    publish(sqlite_url, 2, created=now() - timedelta(hours=1))
    settle(sqlite_url, (SYSTEM_ID, AttemptOutcome.PARK, Reason.HTTP))
    found = examine(invoke, sqlite_url)
    assert list_faulty(found) == ["queue"]
    assert found["queue"]["problem"][0].startswith("1 deliveries are overdue: no worker runs, or too few; no worker")
    waits, parked = found["queue"]["warning"]
    assert waits.startswith("a delivery has waited for 36")
    assert parked.startswith("1 deliveries are parked")


def test_doctor_does_not_blame_the_worker_for_a_system_that_fails(sqlite_url: str, invoke: Invoke) -> None:
    subscribe(sqlite_url)
    publish(sqlite_url, 300, created=now() - timedelta(minutes=5))
    with running_worker(sqlite_url, receiver_concurrency=1) as worker:
        worker.wait_for_sample("budkavle_delivery_targets_backing_off", 1, system=SYSTEM_ID)
        found = examine(invoke, sqlite_url, worker_port=httpx.URL(worker.url).port)
        worker.end()
    text = list_problems(found, "queue", "warning")
    assert re.fullmatch(rf"\d+ deliveries are overdue: system {SYSTEM_ID} fails, and the worker backs off -> .+", text)
    assert "a worker answers at " in found["queue"]["ok"][0]


def test_doctor_reports_messages_in_doubt(sqlite_url: str, invoke: Invoke) -> None:
    store_unsettled_messages(sqlite_url, [timedelta(minutes=2)])
    assert list_faulty(examine(invoke, sqlite_url)) == []
    store_unsettled_messages(sqlite_url, [timedelta(minutes=10)])
    assert list_problems(examine(invoke, sqlite_url), "messages").startswith("2 in doubt, oldest 60")


def test_doctor_reports_secrets_and_certificates_of_receivers(
    sqlite_url: str, invoke: Invoke, authority: Authority, tmp_path: Path
) -> None:
    weak, expired, other = (
        tmp_path / "weak",
        authority.issue(begins=TODAY - 9 * DAY, ends=TODAY - DAY),
        authority.issue(),
    )
    weak.write_text("whsec_c2hvcnQ=")
    weak.chmod(0o604)
    subscribe(
        sqlite_url,
        "https://127.0.0.1:9",
        webhook_secrets=("env:NO_SUCH_SECRET", f"file:{weak}"),
        client_certificate=ClientCertificate(f"file:{expired.file}", f"file:{other.file}"),
        ca=f"file:{weak}",
        headers=(StaticHeader("X-Api-Key", "env:NO_SUCH_KEY"),),
        oauth2=TokenClient("https://127.0.0.1:9/token", "a", f"file:{tmp_path}/absent"),
    )
    found = examine(invoke, sqlite_url)
    assert list_faulty(found) == ["receivers"]
    problems = "\n".join(found["receivers"]["problem"])
    assert f"system {SYSTEM_ID}: env:NO_SUCH_SECRET is not set" in problems
    assert f"system {SYSTEM_ID}: env:NO_SUCH_KEY is not set" in problems
    assert f"system {SYSTEM_ID}: file:{tmp_path}/absent cannot be read" in problems
    assert f"file:{weak} has 5 bytes, fewer than 24" in problems
    assert f"system {SYSTEM_ID}: clientCertificate expired on" in problems
    assert "are not a certificate and its key" in problems
    assert f"ca: {weak} has no readable certificate" in problems
    assert f"every user of this machine can use {weak}" in "\n".join(found["receivers"]["warning"])
    assert "c2hvcnQ" not in str(found)


def test_doctor_reports_an_open_e_that_cannot_be_used(
    sqlite_url: str, invoke: Invoke, configured: dict[str, object], mock_address: tuple[MockOpenE, str]
) -> None:
    mock, address = mock_address
    planted = {
        "no answer: ": {"open_e_external_url": "http://127.0.0.1:1/api/callback"},
        "no answer: SSL": {"open_e_external_url": address.replace("http:", "https:") + "/external/api/callback"},
        "the account is refused (status 401)": {"open_e_external_password": "wrong"},
        "no WSDL there (status 404)": {"open_e_external_url": f"{address}/external/api/other"},
    }
    for text, changes in planted.items():
        found = examine(invoke, sqlite_url, **configured | changes)
        assert list_faulty(found) == ["open-e external"]
        assert text in found["open-e external"]["problem"][0]
    mock.fail("Http403", operation="messageapi", instance="external")
    found = examine(invoke, sqlite_url, **configured)
    assert "may not use the messageapi (status 403)" in list_problems(found, "open-e external")
    found = examine(invoke, sqlite_url, **configured | {"open_e_external_username": ""})
    assert list_faulty(found) == ["open-e external", "secrets"]
    assert "belong together" in found["secrets"]["problem"][0]


def test_doctor_reports_certificates_of_the_service(
    sqlite_url: str, invoke: Invoke, authority: Authority, tmp_path: Path
) -> None:
    good, other = (authority.issue("localhost", ends=TODAY + 200 * DAY) for _ in range(2))
    for issued in (good, other):
        issued.file.chmod(0o600)
    found = examine(invoke, sqlite_url, tls_cert=good.file, tls_key=other.file)
    assert "the key is not the certificate's" in list_problems(found, "certificates")
    found = examine(invoke, sqlite_url, tls_cert=good.file)
    assert "BUDKAVLE_TLS_CERT and BUDKAVLE_TLS_KEY belong together" in list_problems(found, "certificates")
    for days, status in {-1: "problem", 5: "problem", 20: "warning"}.items():
        issued = authority.issue("localhost", begins=TODAY - 40 * DAY, ends=TODAY + (days + 0.5) * DAY)
        issued.file.chmod(0o600)
        found = examine(invoke, sqlite_url, tls_cert=issued.file, tls_key=issued.file)
        assert "BUDKAVLE_TLS_CERT expire" in list_problems(found, "certificates", status)
    good.file.chmod(0o644)
    found = examine(invoke, sqlite_url, tls_cert=good.file, tls_key=good.file)
    assert f"every user of this machine can use {good.file}" in list_problems(found, "certificates", "warning")
    good.file.chmod(0o600)
    chain = tmp_path / "chain.pem"
    chain.write_text(good.pem + other.pem)
    chain.chmod(0o600)
    found = examine(invoke, sqlite_url, tls_cert=chain, tls_key=good.file, client_ca=other.file)
    problems = list_problems(found, "certificates")
    assert f"certificate 1 of {chain} is not issued by the next one" in problems
    assert f"BUDKAVLE_CLIENT_CA: {other.file} has a certificate that is not of a CA" in problems


def test_doctor_reports_issuers_that_cannot_be_used(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    path = write_issuers(tmp_path, create_token_key(), jwks="https://127.0.0.1:1/jwks")
    found = examine(invoke, sqlite_url, issuers=path)
    assert "the keys at https://127.0.0.1:1/jwks cannot be fetched: " in list_problems(found, "issuers")
    path.write_text("issuers: []")
    assert "issuers must have at least one issuer" in list_problems(
        examine(invoke, sqlite_url, issuers=path), "issuers"
    )


def test_doctor_reports_an_unusable_seal_key_and_a_low_descriptor_limit(
    sqlite_url: str, invoke: Invoke, authority: Authority
) -> None:
    found = examine(invoke, sqlite_url, audit_seal_key=authority.issue().file, max_connections="1000000")
    assert list_faulty(found) == ["secrets", "machine"]
    assert "BUDKAVLE_AUDIT_SEAL_KEY: the key in" in found["secrets"]["problem"][0]
    assert "the limit of file descriptors is" in found["machine"]["warning"][0]


def test_doctor_reports_audit_keys_that_cannot_be_used(sqlite_url: str, invoke: Invoke, tmp_path: Path) -> None:
    weak, open_to_all = tmp_path / "weak", tmp_path / "open"
    weak.write_text("whsec_c2hvcnQ=")
    weak.chmod(0o600)
    open_to_all.write_text("A" * 32)
    open_to_all.chmod(0o644)
    planted = {
        "env:NO_SUCH_KEY": "BUDKAVLE_AUDIT_KEY: env:NO_SUCH_KEY is not set",
        f"file:{tmp_path}/missing": f"BUDKAVLE_AUDIT_KEY: file:{tmp_path}/missing",
        f"file:{weak}": f"BUDKAVLE_AUDIT_KEY: file:{weak} has 5 bytes, fewer than 24",
    }
    for reference, text in planted.items():
        found = examine(invoke, sqlite_url, audit_key=reference)
        assert found["secrets"]["problem"][0].startswith(text)
    found = examine(invoke, sqlite_url, audit_key=f"file:{open_to_all}")
    assert f"every user of this machine can use {open_to_all}" in found["secrets"]["warning"][0]


def test_doctor_reports_an_audit_that_this_process_cannot_sign(
    sqlite_url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY", "OTHERKEY"):
        monkeypatch.setenv(name, (name * 32)[:32])
    found = examine(invoke, sqlite_url, audit_key="env:KEY")
    assert "BUDKAVLE_AUDIT_KEY is set, and entries without" in list_problems(found, "audit", "warning")
    assert invoke(sqlite_url, "audit", "start-signing", audit_key="env:KEY").exit_code == 0
    assert list_faulty(examine(invoke, sqlite_url, audit_key="env:OTHERKEY, env:KEY")) == []
    for key in ("", "env:OTHERKEY"):
        assert "BUDKAVLE_AUDIT_KEY has none of their keys" in list_problems(
            examine(invoke, sqlite_url, audit_key=key), "audit"
        )
    assert examine(invoke, sqlite_url, audit_key="env:MISSING")["audit"] == {
        "skipped": ["BUDKAVLE_AUDIT_KEY cannot be used"]
    }


def test_doctor_reports_secrets_of_operator_events_that_cannot_be_used(
    sqlite_url: str, invoke: Invoke, authority: Authority, tmp_path: Path
) -> None:
    weak = tmp_path / "weak"
    weak.write_text("whsec_c2hvcnQ=")
    weak.chmod(0o600)
    planted = {
        "": "BUDKAVLE_OPERATOR_WEBHOOK_URL needs BUDKAVLE_OPERATOR_WEBHOOK_SECRET",
        "env:NO_SUCH_SECRET": "BUDKAVLE_OPERATOR_WEBHOOK_SECRET: env:NO_SUCH_SECRET is not set",
        f"file:{weak}": f"BUDKAVLE_OPERATOR_WEBHOOK_SECRET: file:{weak} has 5 bytes, fewer than 24",
    }
    for reference, text in planted.items():
        settings = {"operator_webhook_url": "https://operator.example/", "operator_webhook_secret": reference}
        assert list_problems(examine(invoke, sqlite_url, **settings), "secrets").startswith(text)
    found = examine(invoke, sqlite_url, operator_webhook_ca=authority.issue().file)
    assert "BUDKAVLE_OPERATOR_WEBHOOK_CA: " in list_problems(found, "certificates")


def test_doctor_reports_traces_that_cannot_be_recorded(
    sqlite_url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    assert "traces are recorded" in examine(invoke, sqlite_url)["machine"]["ok"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    text = list_problems(examine(invoke, sqlite_url), "machine", "warning")
    assert text.startswith("traces are not recorded: only http/protobuf is supported, not grpc")
