"""Access tokens on real connections: TLS of the service itself, and the proxies of docs/how-to/proxies.md."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers.security.access_tokens import LINES_PER_SECOND
from oauth2.compact_serialization import MAX_BYTES
from oauth2.tokens import TokenFault
from openapi.server.protocol import MAX_HEAD_BYTES
from persistence import audit
from tests.bad_tokens import BAD_TOKENS, EC_KEY, RSA_KEY
from tests.budkavle.services import put_key, running_program
from tests.catalogue_rows import put_message_types, put_system, read_audit
from tests.certificates import Authority, Issued
from tests.databases import run_with_database
from tests.haproxy import haproxy_before
from tests.issuers import HEADER, write_issuers
from tests.nginx import nginx_before
from tests.tokens import create_claims, create_token, encode

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
LIST = "/webmessages/external-references/errandNumber/A-1"
ABONNEMENT = f"/v1/abonnement?systemIdentifier={SYSTEM}"
PROXIES = {"nginx": nginx_before, "haproxy": haproxy_before}

NOT_IN_A_HEADER = {"a line break after it", "NUL"}
"""Bytes that no header may contain."""

PADDED = {"a space before it", "a space after it"}
"""Spaces around a token in a header are not part of the token."""


@dataclass(frozen=True)
class Reached:
    """A service that accepts tokens, and the address at which callers reach it."""

    database_url: str
    url: str
    proxy: str | None


@pytest.fixture(scope="module", params=["direct", *sorted(PROXIES)])
def reached(
    request: pytest.FixtureRequest,
    migrated_sqlite: bytes,
    tls: dict[str, Path],
    caller: Issued,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reached]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "test.db").write_bytes(migrated_sqlite)
    database_url = f"sqlite:///{folder / 'test.db'}"
    put_key(database_url)
    put_message_types(database_url)
    put_system(database_url, SYSTEM, caller.fingerprint)
    settings: dict[str, object] = {
        "issuers": write_issuers(folder, EC_KEY, RSA_KEY, with_gateway=True),
        "failed_authentications": 1_000_000,
    }
    if request.param == "direct":
        with running_program(database_url, **settings, **tls, trusted_proxies="192.0.2.7") as service:
            yield Reached(database_url, service.url, None)
        return
    with (
        running_program(database_url, **settings, trusted_proxies="127.0.0.1") as service,
        PROXIES[request.param](service.url, tls, folder) as proxy,
    ):
        yield Reached(database_url, proxy, request.param)


def sign(**claims: Any) -> str:
    return create_token(EC_KEY, create_claims(**claims))


def bind(issued: Issued) -> dict[str, str]:
    """Return the claim `cnf` of a token that is bound to a certificate."""
    return {"x5t#S256": encode(bytes.fromhex(issued.fingerprint))}


def get(client: httpx.Client, token: str, path: str = LIST) -> httpx.Response:
    return client.get(path, headers=[(b"Authorization", (b"Bearer " + token.encode()).rstrip())])


def test_every_bad_token_gets_401(reached: Reached, authority: Authority) -> None:
    with authority.client(reached.url) as client:
        _refuse_bad_tokens(lambda token: get(client, token))


@pytest.mark.parametrize("reached", sorted(PROXIES), indirect=True)
def test_every_bad_token_of_a_gateway_gets_401(reached: Reached, authority: Authority) -> None:
    with authority.client(reached.url) as client:
        _refuse_bad_tokens(lambda token: client.get(LIST, headers=[(HEADER.encode(), token.encode().strip())]))


def _refuse_bad_tokens(send: Callable[[str], httpx.Response]) -> None:
    assert send(sign()).status_code == 200
    refused = 0
    for tokens in BAD_TOKENS.values():
        for name, create in tokens.items():
            token = create()
            if name in NOT_IN_A_HEADER | PADDED or len(token) > MAX_HEAD_BYTES:
                continue
            response = send(token)
            challenge = response.headers["www-authenticate"]
            if not token:
                assert response.status_code == 400
                assert 'error="invalid_request"' in challenge
                continue
            refused += 1
            assert response.status_code == 401, (name, response.text)
            assert challenge.startswith('Bearer realm="budkavle", error="invalid_token", error_description="'), name
            assert not any(part in challenge + response.text for part in token.split(".") if len(part) > 8), name
    assert refused >= 60
    for name in PADDED:
        (create,) = [tokens[name] for tokens in BAD_TOKENS.values() if name in tokens]
        assert send(create()).status_code == 200
    assert send(sign()).status_code == 200


def test_token_over_the_limit_gets_401(reached: Reached, authority: Authority) -> None:
    # Proxies have lower limits for headers than the service.
    is_direct = reached.proxy is None
    for length in (MAX_BYTES + 1, 16_000, MAX_HEAD_BYTES - 1024 if is_direct else 20_000):
        with authority.client(reached.url) as client:
            response = get(client, "a" * length)
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


def test_bound_token_needs_the_certificate_of_its_connection(
    reached: Reached, authority: Authority, caller: Issued
) -> None:
    bound = sign(cnf=bind(caller))
    forged = [("Client-Cert", caller.header), ("Client-Cert", caller.escaped)]
    with (
        authority.client(reached.url, caller) as right,
        authority.client(reached.url, authority.issue()) as other,
        authority.client(reached.url) as none,
    ):
        assert get(right, bound).status_code == 200
        for client in (other, none):
            for headers in ([], *([one] for one in forged)):
                response = client.get(LIST, headers=[("Authorization", f"Bearer {bound}"), *headers])
                assert response.status_code == 401
                assert 'error="invalid_token"' in response.headers["www-authenticate"]


def test_token_for_a_system_must_be_bound_to_its_certificate(
    reached: Reached, authority: Authority, caller: Issued
) -> None:
    with authority.client(reached.url, caller) as client:
        assert client.get(ABONNEMENT).status_code == 200
        body = {"systemIdentifier": SYSTEM, "abonnementer": []}
        for claims, status in (({"system": SYSTEM}, 200), ({}, 403)):
            headers = {"Authorization": f"Bearer {sign(cnf=bind(caller), **claims)}"}
            assert client.post("/v1/abonnement/sync", json=body, headers=headers).status_code == status
            assert client.get(ABONNEMENT, headers=headers).status_code == status
        refused = get(client, sign(system=SYSTEM), ABONNEMENT)
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        [entry] = read_audit(reached.database_url, refused.headers["x-requestid"])
        assert entry.detail["reason"] == "invalid_token"
    with authority.client(reached.url) as client:
        refused = get(client, sign(cnf=bind(caller), system=SYSTEM), ABONNEMENT)
        assert refused.status_code == 401


def test_gateway_header_is_accepted_from_proxies_only(reached: Reached, authority: Authority) -> None:
    with authority.client(reached.url) as client:
        response = client.get(LIST, headers={HEADER: sign()})
        assert response.status_code == (401 if reached.proxy is None else 200)
        both = client.get(LIST, headers={HEADER: sign(), "Authorization": f"Bearer {sign()}"})
        assert both.status_code == (200 if reached.proxy is None else 400)


def test_ignored_gateway_header_is_logged_without_its_value(sqlite_url: str, tmp_path: Path) -> None:
    issuers = write_issuers(tmp_path, EC_KEY, with_gateway=True)
    token = sign()
    with running_program(sqlite_url, issuers=issuers, trusted_proxies="192.0.2.7") as service:
        del service.client.headers["apikey"]
        start = time.monotonic()
        for _ in range(50):
            assert service.client.get(LIST, headers={HEADER: token}).status_code == 401
        seconds = time.monotonic() - start
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        log = [json.loads(line) for line in service.process.err]
    lines = [entry for entry in log if entry["event"] == "token_header_ignored"]
    assert 1 <= len(lines) <= LINES_PER_SECOND * (seconds + 2)
    assert {(entry["header"], entry["peer"]) for entry in lines} == {(HEADER.lower(), "127.0.0.1")}
    assert not any(part in line for line in service.process.err for part in token.split("."))


def test_logs_audit_and_metrics_contain_no_part_of_a_token(
    migrated_sqlite: bytes, tmp_path: Path, caller: Issued
) -> None:
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    database_url = f"sqlite:///{tmp_path / 'test.db'}"
    put_system(database_url, SYSTEM, caller.fingerprint)
    issuers = write_issuers(tmp_path, EC_KEY, RSA_KEY)
    tokens = [create() for of_fault in BAD_TOKENS.values() for create in of_fault.values()]
    # The log has few lines per second about callers without access, so one token of each kind comes first.
    first = [next(iter(of_fault.values()))() for of_fault in BAD_TOKENS.values()]
    good = sign(cnf=bind(caller), jti="secret-jti")
    sent = [
        token for token in (*first, good, *tokens) if 0 < len(token) <= MAX_BYTES + 2 and not re.search("[\0\n]", token)
    ]
    with running_program(
        database_url,
        issuers=issuers,
        log_level="debug",
        trusted_proxies="127.0.0.1",
        failed_authentications=1_000_000,
    ) as service:
        del service.client.headers["apikey"]
        service.client.headers["Client-Cert"] = caller.header
        for path in (LIST, ABONNEMENT):
            for number, token in enumerate(sent):
                service.client.headers["X-Forwarded-For"] = f"192.0.2.{number % 256}"
                get(service.client, token, path)
        for header in ("Authorization", HEADER):
            service.client.get(LIST, headers=[(header, f"Bearer {good}"), (header, f"Bearer {good}")])
        for query in (f"access_token={good}", good):
            get(service.client, good, f"{LIST}?{query}")
            service.client.get(f"{LIST}?{query}")
        metrics = service.client.get("/metrics").text
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
        lines = service.process.err
    faults = {json.loads(line).get("token_fault") for line in lines}
    assert {fault for fault in TokenFault if fault is not TokenFault.TOO_LARGE} <= faults
    pages = run_with_database(database_url, lambda database: audit.list_page(database, after=0, limit=100_000))
    recorded = repr([item.entry for _, item in pages])
    assert "invalid_token" in recorded
    for part in {"secret-jti", *(part for token in sent for part in token.split(".") if len(part) > 8)}:
        assert part not in "".join(lines)
        assert part not in recorded
        assert part not in metrics
