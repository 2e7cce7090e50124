"""Who may use the operations page: keys with sessions, and client certificates."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from domain.api_keys import ApiKey, hash_key
from domain.audit import NO_SYSTEM
from domain.errors import KeyNeeded, LacksScope, StorageFailed
from handlers.operations_page import operators as module
from handlers.operations_page.operators import MAX_SESSIONS, MAX_SESSIONS_OF_KEY, Operators
from handlers.security.authentication import ApiKeys
from persistence import api_keys
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from tests.certificates import Authority
from tests.factories import NOW
from tests.handlers.callers import DAY, create_certificate
from tests.handlers.operations_page.operations import ROOT, Page, running_page, to_text
from tests.postgresql import PostgresqlServer
from tests.tcp_proxy import tcp_proxy
from tests.waiting import block_until

HOUR = timedelta(hours=1)


def test_key_begins_a_session_that_scripts_and_other_sites_do_not_get(page: Page) -> None:
    with page.visiting() as visitor:
        assert visitor.get(f"{ROOT}/messages").headers["location"] == f"{ROOT}/sign-in?next=%2Foperations%2Fmessages"
        form = visitor.get(f"{ROOT}/sign-in", params={"next": f"{ROOT}/messages"})
        assert f'value="{ROOT}/messages"' in form.text
        response = visitor.post(f"{ROOT}/sign-in", {"key": " anna ", "next": f"{ROOT}/messages"})
        assert response.headers["location"] == f"{ROOT}/messages"
        cookie = response.headers["set-cookie"]
        assert cookie.partition(";")[2].split("; ") == [" HttpOnly", "Path=/operations", "SameSite=strict"]
        assert "anna Sign out" in visitor.read(ROOT)
        assert visitor.get(f"{ROOT}/sign-in").headers["location"] == ROOT
    entry = page.list_entries(NO_SYSTEM)[0]
    assert (entry.operation, entry.caller, entry.outcome) == ("operations sign-in", "anna", "answered")


def test_name_of_the_person_is_recorded_with_the_key(page: Page) -> None:
    with page.visiting() as visitor:
        response = visitor.post(f"{ROOT}/sign-in", {"key": "anna", "name": " \u00c5sa <Ek> "})
        assert response.status_code == 303
        assert "\u00c5sa <Ek> (anna)" in visitor.read(ROOT)
    assert page.list_entries(NO_SYSTEM)[0].caller == "\u00c5sa <Ek> (anna)"
    with page.visiting() as visitor:
        for name in ("ip:1", "a#b", "a\nb", "*", "x" * 101):
            assert visitor.post(f"{ROOT}/sign-in", {"key": "anna", "name": name}).status_code == 400


def test_cookie_is_secure_behind_a_proxy_with_tls(page: Page) -> None:
    with page.visiting() as visitor:
        assert "Secure" in visitor.sign_in("anna", x_forwarded_proto="https").headers["set-cookie"]


def test_sign_out_ends_the_session_also_for_a_stolen_cookie(page: Page) -> None:
    with page.signed_in("bo") as visitor:
        cookie = visitor.client.cookies["budkavle-operations"]
        token = visitor.get(ROOT).text.split('name="token" value="')[1].split('"')[0]
        assert visitor.post(f"{ROOT}/sign-out", {"token": token}).headers["location"] == f"{ROOT}/sign-in"
        visitor.client.cookies.set("budkavle-operations", cookie, path=ROOT)
        assert visitor.get(ROOT).status_code == 303


def test_sign_in_ends_the_earlier_session_of_the_browser(page: Page) -> None:
    with page.signed_in("bo") as visitor:
        cookie = visitor.client.cookies["budkavle-operations"]
        assert visitor.sign_in("anna").status_code == 303
        assert "anna Sign out" in visitor.read(ROOT)
        visitor.client.cookies.set("budkavle-operations", cookie, path=ROOT)
        assert visitor.get(ROOT).status_code == 303


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        ("", 401, "Enter your key."),
        ("guessed", 401, "This key is not valid."),
        ("\U0001f4a9" * 100, 401, "This key is not valid."),
        ("sender", 403, "This key does not have the scope operations.read."),
    ],
)
def test_other_keys_are_refused_and_recorded(page: Page, key: str, status: int, text: str) -> None:
    with page.visiting() as visitor:
        response = visitor.sign_in(key)
        assert (response.status_code, text in to_text(response.text)) == (status, True)
        assert "set-cookie" not in response.headers
        assert visitor.get(ROOT).status_code == 303
        metrics = visitor.get("/metrics").text
        reason = {"": "no_key", "sender": "key_lacks_scope"}.get(key, "unknown_key")
        assert re.search(rf'^budkavle_refused_requests_total{{reason="{reason}"}} [1-9]', metrics, re.MULTILINE)
    refused = [entry for entry in page.list_entries(NO_SYSTEM) if entry.operation == "operationsPage"]
    assert {(entry.caller, entry.outcome) for entry in refused} == {("ip:127.0.0.1", "refused")}


def test_expired_key_is_refused_with_the_remedy(page: Page) -> None:
    name = f"expired-{uuid4()}"
    key = ApiKey(hash_key(name.encode()), name, ("operations",), NOW, expires=NOW + HOUR)
    page.run(lambda database: api_keys.create(database, key))
    with page.visiting() as visitor:
        response = visitor.sign_in(name)
        assert response.status_code == 401
        assert "This key has expired." in response.text


def test_revoked_key_ends_its_sessions(page: Page) -> None:
    name = f"revoked-{uuid4()}"
    key = ApiKey(hash_key(name.encode()), name, ("operations",), NOW)
    page.run(lambda database: api_keys.create(database, key))
    with page.signed_in(name) as visitor:

        async def revoke(database: Database) -> None:
            await api_keys.revoke(database, name, datetime.now(UTC))

        page.run(revoke)
        block_until(lambda: visitor.get(ROOT).status_code == 303)


def test_failures_of_one_address_are_limited(page: Page) -> None:
    with running_page(page.database_url, failed_authentications=2) as limited, limited.visiting() as visitor:
        found = {visitor.sign_in(f"guess {number}").status_code for number in range(20)}
        assert found == {401, 429}
        block_until(lambda: visitor.sign_in("anna").status_code == 303)


def test_certificates_of_the_settings_need_no_key(page: Page) -> None:
    known, other, ended = (create_certificate(ends=ends) for ends in (DAY, DAY, -DAY / 2))
    names = f"carl={known.fingerprint}, dora={ended.fingerprint.upper()}"
    settings = {"trusted_proxies": "127.0.0.1", "operations_certificates": names}
    with running_page(page.database_url, **settings) as guarded, guarded.visiting() as visitor:
        response = visitor.get(ROOT, headers={"client-cert": known.header})
        assert response.status_code == 200
        assert "carl" in to_text(response.text)
        assert "Sign out" not in response.text
        for certificate in (other, ended):
            assert visitor.get(ROOT, headers={"client-cert": certificate.header}).status_code == 303
        assert visitor.get(ROOT, headers={"client-cert": "x"}).status_code == 303
        # A browser sends a certificate by itself, so a form without the token changes nothing.
        path = f"{ROOT}/systems/{uuid4()}/pause"
        refused = visitor.post(path, {"duration": "1h"}, client_cert=known.header)
        assert (refused.status_code, "This form is too old" in refused.text) == (403, True)
    with (
        running_page(page.database_url, operations_certificates=names) as direct,
        direct.visiting() as visitor,
    ):
        # Only proxies are trusted with this header.
        assert visitor.get(ROOT, headers={"client-cert": known.header}).status_code == 303


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.anyio
@pytest.mark.parametrize("steps", [[HOUR], [HOUR * 0.9] * 14], ids=["idle", "long"])
async def test_sessions_end(database: Database, steps: list[timedelta]) -> None:
    clock = Clock()
    keys = (ApiKey(hash_key(b"key"), "anna", ("operations",), NOW),)
    operators = Operators(ApiKeys(database, clock, keys), {}, clock)
    cookie, operator = await operators.sign_in("key")
    assert operator.may_change
    for step in steps[:-1]:
        clock.now += step
        assert await operators.identify(cookie, None) is not None
    clock.now += steps[-1]
    assert await operators.identify(cookie, None) is None
    clock.now = NOW
    assert await operators.identify(cookie, None) is None


@pytest.mark.anyio
async def test_sessions_are_limited_and_only_for_operators(database: Database) -> None:
    clock = Clock()
    keys = (
        ApiKey(hash_key(b"key"), "anna", ("operations.read",), NOW),
        ApiKey(hash_key(b"other"), "bo", ("operations",), NOW),
        ApiKey(hash_key(b"x"), "x", ("messages",), NOW),
    )
    operators = Operators(ApiKeys(database, clock, keys), {}, clock)
    other, _ = await operators.sign_in("other")
    first, _ = await operators.sign_in("key")
    for _ in range(MAX_SESSIONS_OF_KEY):
        latest, operator = await operators.sign_in("key")
    assert await operators.identify(first, None) is None
    assert await operators.identify(other, None) is not None
    assert await operators.identify(latest, None) is not None
    assert not operator.may_change
    with pytest.raises(LacksScope):
        await operators.sign_in("x")
    with pytest.raises(KeyNeeded):
        await operators.sign_in("unknown")


@pytest.mark.anyio
async def test_look_up_of_a_key_in_a_silent_database_has_a_limit(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_UP_SECONDS", 0.2)
    with tcp_proxy(postgresql_server.socket) as proxy:
        proxy.freeze(is_deaf=True)
        database = open_database(f"postgresql://x@127.0.0.1:{proxy.port}/x", Waits(connect_timeout=1))
        keys = ApiKeys(database, Clock())
        with pytest.raises(StorageFailed) as caught:
            await Operators(keys, {}, Clock()).sign_in("key")
        assert caught.value.explanation == "it has not found the key within 0.2 seconds"
        await asyncio.gather(*keys._looking_up.values(), return_exceptions=True)
        await database.close()


@pytest.mark.anyio
async def test_sessions_of_all_keys_are_limited(database: Database) -> None:
    clock = Clock()
    names = [f"key{number}" for number in range(MAX_SESSIONS // MAX_SESSIONS_OF_KEY + 1)]
    keys = [ApiKey(hash_key(name.encode()), name, ("operations",), NOW) for name in names]
    operators = Operators(ApiKeys(database, clock, keys), {}, clock)
    found = [(await operators.sign_in(name))[0] for name in names for _ in range(MAX_SESSIONS_OF_KEY)]
    signed_in = [await operators.identify(cookie, None) is not None for cookie in found]
    assert signed_in == [False] * (len(found) - MAX_SESSIONS) + [True] * MAX_SESSIONS


def test_certificate_of_a_connection_with_tls_needs_no_proxy(page: Page, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, known, other = authority.issue("localhost"), authority.issue("carl"), authority.issue("eve")
    settings = {"tls_cert": server.file, "tls_key": server.file, "client_ca": authority.file}
    names = f"carl={known.fingerprint}"
    with running_page(page.database_url, operations_certificates=names, **settings) as guarded:
        address = guarded.url.replace("127.0.0.1", "localhost")
        for certificate, status in ((known, 200), (other, 303)):
            with authority.client(address, certificate) as client:
                response = client.get(ROOT)
                assert response.status_code == status
                own = {"sec-fetch-site": "same-origin"}
                signed_in = client.post(f"{ROOT}/sign-in", data={"key": "anna"}, headers=own)
                assert "Secure" in signed_in.headers["set-cookie"]
