"""API keys: which callers are authenticated, and until when."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.callers import Caller, CallerKind, build_certificate_caller, parse_scope
from domain.errors import KeyNeeded, RefusalReason, StorageFailed, TokenRejected, Unauthenticated
from handlers.security.authentication import MAX_CACHED, ApiKeys, combine
from oauth2.tokens import VerifiedToken
from persistence import api_keys
from persistence.database import Database
from persistence.waits import Waits
from tests.databases import run_with_database
from tests.factories import NOW, build_message_body
from tests.handlers.messages import create_id, read_problem
from tests.raw_http import send_request
from tests.tokens import ISSUER, create_issuer


def build_key(key: str, *scopes: str, name: str = "caller") -> ApiKey:
    return ApiKey(hash_key(key.encode()), name, scopes, NOW)


CALLER = Caller(CallerKind.KEY, "caller", parse_scope("messages"))


def build_keys(database: Database, *extra: ApiKey) -> ApiKeys:
    return ApiKeys(database, lambda: NOW, extra)


@pytest.fixture
def url_of(shared: RunningService) -> str:
    return shared.settings.database_url.get_secret_value()


def test_stored_key_has_the_access_of_its_scope(shared: RunningService, url_of: str) -> None:
    keys = {scopes: generate_key() for scopes in (("messages",), ("publish",), ("messages", "publish"))}
    for scopes, key in keys.items():
        stored = build_key(key, *scopes, name=create_id())
        run_with_database(url_of, lambda database, stored=stored: api_keys.create(database, stored))
    path = f"/webmessages/{create_id()}"
    statuses = {scopes: shared.client.get(path, headers={"apikey": key}).status_code for scopes, key in keys.items()}
    assert statuses == {("messages",): 404, ("publish",): 403, ("messages", "publish"): 404}


def test_key_gives_access_to_reading_or_writing_alone(shared: RunningService, url_of: str) -> None:
    statuses = {}
    for scope in ("messages.read", "messages.write", "publish:8"):
        key = generate_key()
        stored = build_key(key, scope, name=create_id())
        run_with_database(url_of, lambda database, stored=stored: api_keys.create(database, stored))
        headers, path = {"apikey": key}, f"/webmessages/{create_id()}"
        responses = [
            shared.client.get(path, headers=headers),
            shared.client.get(f"{path}/attachments/{create_id()}", headers=headers),
            shared.client.get(f"/webmessages/recipients/{create_id()}", headers=headers),
            shared.client.get("/webmessages/external-references/caseId/none", headers=headers),
            shared.client.delete(path, headers=headers),
            shared.client.post("/webmessages", json=build_message_body(), headers=headers),
        ]
        statuses[scope] = [response.status_code for response in responses]
        for response in responses:
            if response.status_code == 403:
                needed = "read" if response.request.method == "GET" else "write"
                assert response.json()["detail"] == f"The key lacks the scope messages.{needed}"
    assert statuses == {
        "messages.read": [404, 404, 200, 200, 403, 403],
        "messages.write": [403, 403, 403, 403, 404, 201],
        "publish:8": [403] * 6,
    }


def test_expired_key_is_rejected(shared: RunningService, url_of: str) -> None:
    statuses = []
    for expires in (NOW, NOW + timedelta(days=100 * 365)):
        key = generate_key()
        stored = replace(build_key(key, "messages", name=create_id()), expires=expires)
        run_with_database(url_of, lambda database, stored=stored: api_keys.create(database, stored))
        response = shared.client.get(f"/webmessages/{create_id()}", headers={"apikey": key})
        statuses.append((response.status_code, response.json()["detail"].split(" ")[0]))
    assert statuses == [(401, "A"), (404, "WebMessage")]


def test_revoked_key_is_unknown(shared: RunningService, url_of: str) -> None:
    key, name = generate_key(), create_id()
    run_with_database(url_of, lambda database: api_keys.create(database, build_key(key, "messages", name=name)))
    run_with_database(url_of, lambda database: api_keys.revoke(database, name, NOW))
    response = shared.client.get(f"/webmessages/{create_id()}", headers={"apikey": key})
    assert read_problem(response, 401, "Unauthorized")["detail"] == "A valid key in the header apikey is needed"


@pytest.mark.parametrize(
    "key",
    [
        MESSAGES_KEY + "x",
        MESSAGES_KEY[:-1],
        MESSAGES_KEY.swapcase(),
        f"Bearer {MESSAGES_KEY}",
        hash_key(MESSAGES_KEY.encode()),
        "x" * 8000,
    ],
)
def test_other_key_is_unknown(contract: RunningService, key: str) -> None:
    response = contract.client.get(f"/webmessages/{create_id()}", headers={"apikey": key})
    assert read_problem(response, 401, "Unauthorized")
    assert 'header="apikey"' in response.headers["www-authenticate"]


def test_key_that_is_not_text_is_unknown(contract: RunningService) -> None:
    response = send_request(contract.port, b"GET /webmessages/x HTTP/1.1\r\nHost: x\r\napikey: \xff\xfe\r\n\r\n")
    assert response.status == 401


def test_key_is_read_only_from_its_header_in_every_spelling(contract: RunningService) -> None:
    head = f"GET /webmessages/x HTTP/1.1\r\nHost: x\r\nApiKey: {MESSAGES_KEY}\r\n\r\n"
    assert send_request(contract.port, head.encode()).status == 400
    head = f"GET /webmessages/x?apikey={MESSAGES_KEY} HTTP/1.1\r\nHost: x\r\nCookie: apikey={MESSAGES_KEY}\r\n\r\n"
    assert send_request(contract.port, head.encode()).status == 401


def test_health_and_documentation_require_no_key(contract: RunningService) -> None:
    for path in ("/health/live", "/health/ready", "/docs", "/docs/web-messages", "/docs/web-messages/openapi.json"):
        assert contract.client.get(path, headers={"apikey": "wrong"}).status_code == 200


def test_find_rejects_a_revoked_key(migrated_sqlite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    key = generate_key()

    async def scenario(database: Database) -> None:
        keys = build_keys(database)
        await api_keys.create(database, build_key(key, "messages"))
        assert await keys.find(key.encode()) == CALLER
        await api_keys.revoke(database, "caller", NOW)
        async with asyncio.timeout(30):
            while await keys.find(key.encode()) is not RefusalReason.UNKNOWN_KEY:
                await asyncio.to_thread(str)

    run_with_database(f"sqlite:///{path}", scenario)


def test_find_rejects_a_key_from_the_moment_when_it_expires(database_url: str) -> None:
    key = generate_key()

    async def scenario(database: Database) -> None:
        await api_keys.create(database, replace(build_key(key, "messages"), expires=NOW))
        moments = [NOW - timedelta(microseconds=1), NOW]
        found = [await ApiKeys(database, lambda moment=moment: moment).find(key.encode()) for moment in moments]
        assert found == [CALLER, RefusalReason.EXPIRED_KEY]
        await api_keys.revoke(database, "caller", NOW)
        assert await build_keys(database).find(key.encode()) is RefusalReason.UNKNOWN_KEY

    run_with_database(database_url, scenario)


def test_name_of_a_key_never_equals_that_of_a_token(database_url: str) -> None:
    """Keys that were created before names were restricted still work."""
    key = generate_key()

    async def scenario(database: Database) -> None:
        await api_keys.create(database, build_key(key, "messages", name=f"{ISSUER}#app"))
        found = await build_keys(database).find(key.encode())
        assert isinstance(found, Caller)
        assert found.name == "https://issuer.example%23app"

    run_with_database(database_url, scenario)


def test_find_bounds_its_cache(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        keys = build_keys(database)
        for number in range(20):
            await keys.find(b"%d" % number)
        assert len(keys._cache) == 20
        keys._cache = {str(number): (0.0, RefusalReason.UNKNOWN_KEY) for number in range(MAX_CACHED)}
        await keys.find(b"one more")
        assert len(keys._cache) == 1

    run_with_database(database_url, scenario)


def test_find_shares_one_query_between_concurrent_callers(migrated_sqlite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite)
    key = generate_key()

    async def scenario(database: Database) -> None:
        await api_keys.create(database, build_key(key, "messages"))
        keys = build_keys(database)
        lookups = [asyncio.create_task(keys.find(key.encode())) for _ in range(50)]
        await asyncio.sleep(0)
        assert len(keys._looking_up) == 1
        lookups[0].cancel()
        found = await asyncio.gather(*lookups, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [CALLER] * 49
        assert not keys._looking_up

    run_with_database(f"sqlite:///{path}", scenario)


def test_find_raises_when_the_database_fails_and_retries() -> None:
    async def scenario(database: Database) -> None:
        keys = build_keys(database)
        for _ in range(2):
            outcomes = await asyncio.gather(*(keys.find(b"any") for _ in range(3)), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 3

    run_with_database("postgresql://127.0.0.1:1/nowhere", scenario, Waits(pool_timeout=0.1))


def test_find_uses_extra_keys_without_a_query() -> None:
    extra = build_key(PUBLISH_KEY, "publish", name="extra")
    expected = Caller(CallerKind.KEY, "extra", frozenset({"publish"}))

    async def scenario(database: Database) -> None:
        assert await build_keys(database, extra).find(PUBLISH_KEY.encode()) == expected

    run_with_database("postgresql://127.0.0.1:1/nowhere", scenario)


BY_KEY = [frozenset({"ApiKeyAuth"}), frozenset({"BearerToken"})]
BY_CERTIFICATE = [frozenset({"ClientCertificate"}), frozenset({"ClientCertificate", "BearerToken"})]
TOKEN = VerifiedToken(
    create_issuer("file:/jwks.json"), "app", frozenset({"publish"}), frozenset({"b", "c"}), expires=0, certificate="0"
)
CERTIFICATE_CALLER = replace(build_certificate_caller("0"), systems=frozenset({"a", "b"}))


def test_combine_returns_the_only_caller() -> None:
    assert combine(BY_KEY, {"ApiKeyAuth": CALLER}) is CALLER
    by_token = Caller(CallerKind.TOKEN, f"{ISSUER}#app", frozenset({"publish"}))
    assert combine(BY_KEY, {"BearerToken": TOKEN}) == by_token
    assert combine(BY_CERTIFICATE, {"ClientCertificate": CERTIFICATE_CALLER}) is CERTIFICATE_CALLER


def test_combine_of_key_and_token_has_the_rights_of_the_token() -> None:
    both = combine(BY_KEY, {"ApiKeyAuth": CALLER, "BearerToken": TOKEN})
    assert both == combine(BY_KEY, {"BearerToken": TOKEN})


def test_combine_of_certificate_and_token_has_the_systems_of_both() -> None:
    both = combine(BY_CERTIFICATE, {"ClientCertificate": CERTIFICATE_CALLER, "BearerToken": TOKEN})
    assert (both.kind, both.name, both.systems) == (CallerKind.TOKEN, f"{ISSUER}#app", {"b"})
    assert both.certificate == "0"


def test_combine_of_a_certificate_rejects_a_token_without_one() -> None:
    unbound = replace(TOKEN, certificate=None)
    with pytest.raises(TokenRejected):
        combine(BY_CERTIFICATE, {"ClientCertificate": CERTIFICATE_CALLER, "BearerToken": unbound})


def test_combine_rejects_missing_credentials() -> None:
    with pytest.raises(KeyNeeded) as key:
        combine(BY_KEY, {})
    assert key.value.reason == RefusalReason.NO_KEY
    for found in ({}, {"BearerToken": TOKEN}):
        with pytest.raises(Unauthenticated) as certificate:
            combine(BY_CERTIFICATE, found)
        assert certificate.value.reason == RefusalReason.NO_CERTIFICATE
