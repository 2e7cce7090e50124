"""Limits for callers that fail to authenticate: responses and metrics; tests/budkavle/test_logs.py has the log."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService, running_service
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.errors import KeyNeeded, RefusalReason, TooManyFailures
from openapi.observation.source_limits import (
    LINES_PER_SECOND,
    LINES_PER_SOURCE,
    AnonymousLines,
    FailureLimit,
    SourceCounter,
)
from persistence import api_keys
from tests.catalogue_rows import put_message_types
from tests.databases import run_with_database
from tests.factories import NOW
from tests.handlers.callers import Caller, create_caller, read_errors
from tests.handlers.messages import create_id, read_problem


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def catch_failure(limit: FailureLimit, peer: str | None) -> type[Exception] | None:
    try:
        limit.count(KeyNeeded(RefusalReason.UNKNOWN_KEY), peer)
    except TooManyFailures as error:
        return type(error)
    return None


def test_source_counter_counts_networks_and_resets_each_second() -> None:
    clock = Clock()
    counter = SourceCounter(clock)
    assert [counter.add("192.0.2.1") for _ in range(3)] == [1, 2, 3]
    assert [counter.add(f"2001:db8::{number}") for number in range(3)] == [1, 2, 3]
    assert [counter.add("2001:db8:0:1::"), counter.add(None), counter.add("::ffff:192.0.2.1")] == [1, 1, 4]
    for number in range(10_000):
        counter.add(f"2001:db8:{number:x}::")
    clock.now += 1
    assert counter.add("192.0.2.1") == 1
    assert len(counter._counts) == 1


def test_failure_limit_is_per_source_and_second() -> None:
    clock = Clock()
    limit = FailureLimit(3, clock)
    kinds = [catch_failure(limit, "192.0.2.1") for _ in range(5)]
    assert kinds == [None] * 3 + [TooManyFailures] * 2
    assert catch_failure(limit, "192.0.2.2") is None
    clock.now += 1
    assert catch_failure(limit, "192.0.2.1") is None


def test_anonymous_lines_are_bounded_and_counted() -> None:
    clock = Clock()
    lines = AnonymousLines(clock)
    shown = [lines.admit_line("192.0.2.1") for _ in range(LINES_PER_SOURCE + 5)]
    assert shown == [0] * LINES_PER_SOURCE + [None] * 5
    others = [lines.admit_line(f"198.51.100.{number}") for number in range(100)]
    assert others[0] == 5
    assert sum(suppressed is not None for suppressed in others) == LINES_PER_SECOND - LINES_PER_SOURCE
    clock.now += 1
    assert lines.admit_line("192.0.2.1") == 100 - (LINES_PER_SECOND - LINES_PER_SOURCE)


@pytest.fixture(scope="module")
def subscribing(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Iterator[RunningService]:
    path = tmp_path_factory.mktemp("limits") / "test.db"
    path.write_bytes(migrated_sqlite)
    put_message_types(f"sqlite:///{path}")
    with running_service(
        database_url=f"sqlite:///{path}", trusted_proxies="127.0.0.1", failed_authentications=10
    ) as running:
        yield running


def send_until_limited(service: RunningService, method: str, path: str, **headers: str) -> list[httpx.Response]:
    """Make failing calls from one address as fast as possible, until the response is 429."""

    def send(_number: int) -> httpx.Response:
        return service.client.request(method, path, headers={"apikey": "wrong", **headers})

    responses: list[httpx.Response] = []
    with ThreadPoolExecutor(8) as threads:
        while not any(response.status_code == 429 for response in responses):
            assert len(responses) < 50_000
            responses += threads.map(send, range(40))
    return responses


def test_failed_authentications_above_the_limit_get_429_and_valid_ones_pass(subscribing: RunningService) -> None:
    headers = {"x-forwarded-for": "198.51.100.1"}
    path = f"/webmessages/{create_id()}"
    responses = send_until_limited(subscribing, "GET", path, **headers)
    good = [subscribing.client.get(path, headers={"apikey": MESSAGES_KEY, **headers}) for _ in range(10)]
    assert {response.status_code for response in responses} == {401, 429}
    assert {response.status_code for response in good} == {404}
    refused = next(response for response in responses if response.status_code == 429)
    assert "retry after a second" in read_problem(refused, 429, "Too Many Requests")["detail"]
    assert (refused.headers["retry-after"], "www-authenticate" in refused.headers) == ("1", False)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("POST", "/v1/besked", 1012), ("POST", "/v1/abonnement/sync", 1101), ("GET", "/v1/beskedtype/tilladte", 1101)],
)
def test_error_lists_have_the_code_of_the_missing_credential(
    subscribing: RunningService, method: str, path: str, code: int
) -> None:
    responses = send_until_limited(subscribing, method, path, **{"x-forwarded-for": f"198.51.100.{len(path)}"})
    refused = next(response for response in responses if response.status_code == 429)
    (error,) = read_errors(refused, 429)
    assert (error["errorCode"], refused.headers["retry-after"]) == (code, "1")


def put_expired_key(service: RunningService) -> str:
    """Store an expired key, and return it."""
    key = generate_key()
    stored = ApiKey(hash_key(key.encode()), create_id(), ("messages",), NOW, expires=NOW)
    run_with_database(
        service.settings.database_url.get_secret_value(), lambda database: api_keys.create(database, stored)
    )
    return key


def test_refused_requests_are_counted_by_reason(subscribing: RunningService) -> None:
    caller: Caller = create_caller(subscribing)
    client, path = subscribing.client, f"/webmessages/{create_id()}"

    def counts() -> dict[str, float]:
        text = client.get("/metrics").text
        found = re.findall(r'^budkavle_refused_requests_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return {reason: float(number) for reason, number in found}

    before = counts()
    assert set(before) == set(RefusalReason)
    statuses = [
        httpx.get(f"{subscribing.url}{path}", trust_env=False, verify=False).status_code,
        client.get(path, headers={"apikey": "wrong"}).status_code,
        client.get(path, headers=[("apikey", "other")]).status_code,
        client.get(path, headers={"apikey": PUBLISH_KEY}).status_code,
        caller.get(create_id()).status_code,
        client.get("/v1/abonnement").status_code,
        client.get(path, headers={"apikey": put_expired_key(subscribing)}).status_code,
    ]
    assert statuses == [401, 401, 401, 403, 403, 401, 401]
    grown = {reason: number - before[reason] for reason, number in counts().items() if number != before[reason]}
    assert grown == {
        "no_key": 1,
        "unknown_key": 2,
        "expired_key": 1,
        "key_lacks_scope": 1,
        "system_not_authorised": 1,
        "no_certificate": 1,
    }
