"""Tokens of an issuer whose keys are at a URL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from oauth2.remote_key_sets import FetchTimes
from oauth2.tokens import KeysUnavailable, TokenFault, TokenRefused
from oauth2.verification import TokenVerifier
from tests.certificates import Authority
from tests.oauth2.key_set_server import (
    KeySetServer,
    create_certificate,
    running_key_set_server,
    send,
    send_keys,
    stay_silent,
)
from tests.tokens import create_issuer, create_key_set, create_token, create_token_key
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

OLD, NEW = create_token_key("ES256", "old"), create_token_key("ES256", "new")
SECONDS = FetchTimes(timeout=1.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both event loops: the service has uvloop."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[KeySetServer]:
    async with running_key_set_server(create_certificate(authority)) as running:
        running.respond = send_keys(create_key_set(OLD))
        yield running


@asynccontextmanager
async def started_verifier(
    server: KeySetServer, authority: Authority, times: FetchTimes = SECONDS
) -> AsyncIterator[TokenVerifier]:
    issuers = [create_issuer(server.url)]
    verifier = TokenVerifier(issuers, now=lambda: datetime.now(UTC), tls=authority.create_context(), fetch_times=times)
    verifier.start()
    yield verifier
    verifier.stop()


async def test_first_tokens_wait_for_the_first_fetch(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        tokens = [create_token(OLD).encode() for _ in range(50)]
        await asyncio.gather(*map(verifier.verify, tokens))
        (state,) = verifier.list_key_sets()
    assert len(server.requests) == 1
    assert (state.location, state.failures) == (server.url, 0)
    assert state.age is not None


async def test_keys_are_unavailable_while_none_could_be_fetched(server: KeySetServer, authority: Authority) -> None:
    server.respond = stay_silent
    async with started_verifier(server, authority, FetchTimes(timeout=0.1)) as verifier:
        for _ in range(2):
            with pytest.raises(KeysUnavailable) as caught:
                await verifier.verify(create_token(OLD).encode())
            assert 1 <= caught.value.retry_after <= 5
        with pytest.raises(TokenRefused):
            await verifier.verify(b"no token")
    assert len(server.requests) == 1


async def test_token_with_new_key_is_accepted_after_one_fetch(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD).encode())
        server.respond = send_keys(create_key_set(OLD, NEW))
        await asyncio.gather(*(verifier.verify(create_token(NEW).encode()) for _ in range(50)))
    assert len(server.requests) == 2


async def test_token_without_key_id_is_accepted_after_a_rotation(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD, kid=...).encode())
        server.respond = send_keys(create_key_set(NEW))
        await verifier.verify(create_token(NEW, kid=...).encode())
    assert len(server.requests) == 2


async def test_new_key_with_the_old_key_id_is_accepted_after_one_fetch(
    server: KeySetServer, authority: Authority
) -> None:
    renewed = replace(NEW, key_id=OLD.key_id)
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD).encode())
        server.respond = send_keys(create_key_set(renewed))
        await asyncio.gather(*(verifier.verify(create_token(renewed).encode()) for _ in range(50)))
        with pytest.raises(TokenRefused, match="signature"):
            await verifier.verify(create_token(OLD).encode())
    assert len(server.requests) == 2


async def test_many_unknown_keys_cause_one_fetch(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD).encode())
        for round_ in range(3):
            tokens = [create_token(NEW, kid=f"key {round_}-{number}").encode() for number in range(100)]
            found = await asyncio.gather(*map(verifier.verify, tokens), return_exceptions=True)
            assert {each.reason for each in found if isinstance(each, TokenRefused)} == {TokenFault.UNKNOWN_KEY}
            assert len(found) == 100
        await verifier.verify(create_token(OLD).encode())
    assert len(server.requests) == 2


async def test_failed_fetch_for_an_unknown_key_keeps_the_others(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD).encode())
        server.respond = send("", status="503 Service Unavailable")
        with pytest.raises(TokenRefused, match="no key"):
            await verifier.verify(create_token(NEW).encode())
        await verifier.verify(create_token(OLD).encode())
        assert verifier.list_key_sets()[0].failures == 1


async def test_remembered_token_is_refused_after_its_key_was_withdrawn(
    server: KeySetServer, authority: Authority
) -> None:
    server.respond = send_keys(create_key_set(OLD, NEW), "Cache-Control: max-age=0")
    async with started_verifier(server, authority, FetchTimes(shortest_age=0.02)) as verifier:
        token = create_token(OLD).encode()
        remembered = await verifier.verify(token)
        requests = len(server.requests)
        await wait_until(lambda: len(server.requests) > requests + 1)
        assert await verifier.verify(token) is remembered
        server.respond = send_keys(create_key_set(NEW), "Cache-Control: max-age=0")
        requests = len(server.requests)
        await wait_until(lambda: len(server.requests) > requests + 1)
        with pytest.raises(TokenRefused) as caught:
            await verifier.verify(token)
        assert caught.value.reason is TokenFault.UNKNOWN_KEY


async def test_keys_survive_a_change_of_issuers(server: KeySetServer, authority: Authority) -> None:
    async with started_verifier(server, authority) as verifier:
        await verifier.verify(create_token(OLD).encode())
        server.respond = stay_silent
        verifier.replace_issuers([create_issuer(server.url, clock_tolerance=0)])
        await verifier.verify(create_token(OLD).encode())
    assert len(server.requests) == 1


async def test_keys_of_a_new_location_are_fetched_at_once(
    server: KeySetServer, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        running_key_set_server(create_certificate(authority)) as other,
        started_verifier(server, authority) as verifier,
    ):
        await verifier.verify(create_token(OLD).encode())
        other.respond = send_keys(create_key_set(NEW))
        verifier.replace_issuers([create_issuer(other.url)])
        await verifier.verify(create_token(NEW).encode())
        assert [state.location for state in verifier.list_key_sets()] == [other.url]
    assert (len(server.requests), len(other.requests)) == (1, 1)
