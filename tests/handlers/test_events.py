"""Publish events: accepted and refused events, and repetitions without effect."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.deliveries import ClaimedDelivery
from domain.events import MAX_BODY_BYTES
from persistence import api_keys, tables
from persistence.database import Database
from persistence.queue.claims import Lease
from tests.catalogue_rows import ALLOWED, ENDED, UNKNOWN, read_audit
from tests.databases import run_with_database
from tests.factories import NOW
from tests.handlers.callers import Caller, build_entry, create_caller, list_places, read_errors
from tests.handlers.messages import UNKNOWN_ID, create_id
from tests.persistence.queues import claim_due, list_rows

NO_KEY = 'ApiKey realm="budkavle", header="apikey"'
LIMIT = 256 * 1024


def build_event(**changes: Any) -> dict[str, Any]:
    """Return a valid event; a change to `...` removes the property."""
    values = {"entityType": ALLOWED, "orgType": 1, "orgCode": 101, "aendringstype": 1}
    return {name: value for name, value in (values | changes).items() if value is not ...}


def publish(service: RunningService, body: Any, key: str | None = PUBLISH_KEY, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    request = service.client.build_request("POST", "/v1/besked", content=content, headers=headers)
    if key is None:
        del request.headers["apikey"]
    else:
        request.headers["apikey"] = key
    return service.client.send(request)


def read_event(service: RunningService, event_id: str) -> dict[str, Any]:
    """Return the stored event."""

    async def read(database: Database) -> dict[str, Any]:
        (row,) = [row for row in await list_rows(database, tables.events) if row["id"] == event_id]
        return dict(row)

    found: dict[str, Any] = run_with_database(service.settings.database_url.get_secret_value(), read)
    return found


@pytest.fixture
def org_code(subscribing: RunningService) -> int:
    """Return an orgCode that only two systems subscribe to."""
    code = int(create_id()[:6], 16)
    for _ in range(2):
        create_caller(subscribing).sync(build_entry(orgCode=code), build_entry())
    return code


def test_event_is_accepted_and_queued_for_its_subscriptions(subscribing: RunningService, org_code: int) -> None:
    response = publish(subscribing, build_event(orgCode=org_code), **{"x-requestId": "named-1"})
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-requestId"] == "named-1"
    value = response.json()
    assert value == {"beskedId": value["beskedId"], "abonnementer": 2}
    row = read_event(subscribing, value["beskedId"])
    assert (row["publisher"], row["request_id"], row["subscriptions"]) == ("publisher", "named-1", 2)


def test_every_property_is_stored_unchanged(subscribing: RunningService) -> None:
    body = build_event(
        eksternIdentifier=create_id().upper(),
        versionIdentifier="v 1 å😀",
        identifikationstypeId=2147483647,
        identifikation=" 'x' ",
        beskedId=create_id().upper(),
        body={"z": [1, -0.5, 1e300, 12345678901234567890123, True, None], "a": {"å": "\t\\u0000 \\ %s :x"}, "": {}},
    )
    response = publish(subscribing, body)
    assert response.status_code == 202
    assert response.json()["beskedId"] == body["beskedId"].lower()
    content = json.loads(read_event(subscribing, body["beskedId"].lower())["content"])
    del body["beskedId"]
    assert content == body | {"eksternIdentifier": body["eksternIdentifier"].lower()}
    assert [type(item) for item in content["body"]["z"]] == [type(item) for item in body["body"]["z"]]


def test_repeated_event_gets_the_same_response(subscribing: RunningService, org_code: int) -> None:
    id_, pointed_at = create_id(), create_id()
    body = build_event(orgCode=org_code, beskedId=id_, eksternIdentifier=pointed_at, body={"a": 1, "b": [2]})
    first = publish(subscribing, body)
    again = dict(reversed(body.items())) | {
        "beskedId": id_.upper(),
        "eksternIdentifier": pointed_at.upper(),
        "body": {"b": [2], "a": 1},
    }
    second = publish(subscribing, again)
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.content == first.content
    assert second.json() == {"beskedId": id_, "abonnementer": 2}


@pytest.mark.parametrize(
    "changes",
    [{"aendringstype": 2}, {"body": {"a": 2}}, {"body": ...}, {"orgCode": 102}, {"versionIdentifier": "2"}],
    ids=str,
)
def test_other_event_with_the_same_id_is_a_conflict(subscribing: RunningService, changes: dict[str, Any]) -> None:
    body = build_event(beskedId=create_id(), body={"a": 1})
    assert publish(subscribing, body).status_code == 202
    before = read_event(subscribing, body["beskedId"])
    other = {name: value for name, value in (body | changes).items() if value is not ...}
    (error,) = read_errors(publish(subscribing, other), 409)
    assert error["errorCode"] == 150104
    assert error["message"] == "Der er allerede oprettet en anden besked med samme beskedId"
    assert read_event(subscribing, body["beskedId"]) == before


ONE_FAULT: list[tuple[str, dict[str, Any], list[tuple[str, int]]]] = [
    ("unknown-type", {"entityType": UNKNOWN}, [("entityType", 150002)]),
    ("ended-type", {"entityType": ENDED}, [("entityType", 150002)]),
    *(
        (f"{name}-{value}"[:40], {name: value}, [(name, 1014)])
        for name in ("entityType", "orgType", "orgCode", "aendringstype")
        for value in (..., None, "1", True, 1.0, 1.5, -2, 2147483648, 10**30, [1], {})
    ),
    *((f"change-{value}", {"aendringstype": value}, [("aendringstype", 1014)]) for value in (0, 4, 1e3)),
    *(
        (f"{name}-{value}"[:40], {name: value}, [(name, 1014)])
        for name in ("eksternIdentifier", "beskedId")
        for value in (None, 1, "", "x", "0" * 32, f"{{{UNKNOWN_ID}}}", f"{UNKNOWN_ID}\n", f"{UNKNOWN_ID[:-1]}\uff11")
    ),
    *(
        (f"version-{str(value)[:9]!r}", {"versionIdentifier": value}, [("versionIdentifier", 1014)])
        for value in (None, 1, "", "x" * 256, "a\0", [])
    ),
    *(
        (
            f"identification-{str(value)[:9]!r}",
            {"identifikationstypeId": 1, "identifikation": value},
            [("identifikation", 1014)],
        )
        for value in (None, 1, "", "x" * 256, "a\0")
    ),
    *(
        (
            f"identification-type-{value}",
            {"identifikationstypeId": value, "identifikation": "1"},
            [("identifikationstypeId", 1014)],
        )
        for value in (None, "1", -1, 1.0, 2147483648, True)
    ),
    ("identification-alone", {"identifikation": "1"}, [("identifikationstypeId", 1014)]),
    ("identification-type-alone", {"identifikationstypeId": 1}, [("identifikation", 1014)]),
    *((f"body-{value}", {"body": value}, [("body", 1014)]) for value in (None, 1, "x", [], [{}], True)),
    ("body-nul", {"body": {"a": ["\0"]}}, [("body", 1014)]),
    ("body-nul-name", {"body": {"a": {"\\\\\0": 1}}}, [("body", 1014)]),
    ("unknown-property", {"x": 1}, [("x", 1014)]),
    ("empty-property", {"": 1}, [(None, 1014)]),  # type: ignore[list-item]  # This violation has no name.
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in ONE_FAULT], ids=[row[0] for row in ONE_FAULT])
def test_each_fault_is_reported_with_its_number(
    subscribing: RunningService, changes: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    response = publish(subscribing, build_event(**changes))
    assert list_places(response) == [(None, *place) for place in expected]


def test_all_faults_are_reported_together(subscribing: RunningService) -> None:
    response = publish(
        subscribing,
        build_event(
            entityType=UNKNOWN,
            orgType="x",
            orgCode=...,
            aendringstype=9,
            eksternIdentifier="x",
            identifikation="1",
            body={"a": "\0" + "x" * MAX_BODY_BYTES},
            more=1,
        ),
    )
    assert list_places(response) == [
        (None, "aendringstype", 1014),
        (None, "body", 1014),
        (None, "body", 1014),
        (None, "eksternIdentifier", 1014),
        (None, "entityType", 150002),
        (None, "identifikationstypeId", 1014),
        (None, "more", 1014),
        (None, "orgCode", 1014),
        (None, "orgType", 1014),
    ]
    texts = {error["field"]: error["message"] for error in read_errors(response, 400)}
    assert texts["entityType"] == "Det angivne beskedtypeId er ikke kendt i systemet"
    assert texts["aendringstype"] == "Request validerer ikke: aendringstype skal være en af 1, 2, 3"
    assert texts["orgCode"] == "Request validerer ikke: orgCode mangler"
    assert texts["eksternIdentifier"].endswith("eksternIdentifier skal være en UUID på formen 8-4-4-4-12")
    assert texts["identifikationstypeId"].endswith(
        "identifikationstypeId og identifikation skal angives sammen eller slet ikke"
    )


def test_error_contains_the_integers_of_the_event(subscribing: RunningService) -> None:
    (error,) = read_errors(publish(subscribing, build_event(entityType=UNKNOWN)), 400)
    assert (error["orgtype"], error["orgcode"], error["entitytype"]) == (1, 101, UNKNOWN)
    (error,) = read_errors(publish(subscribing, build_event(orgType="1")), 400)
    assert (error["orgtype"], error["orgcode"], error["entitytype"]) == (None, 101, ALLOWED)


@pytest.mark.parametrize("body", [None, [], 1, "x", [build_event()]])
def test_body_that_is_not_an_object_is_reported_as_a_whole(subscribing: RunningService, body: Any) -> None:
    assert list_places(publish(subscribing, body)) == [(None, None, 1014)]


def test_event_body_is_limited_to_64_kib(subscribing: RunningService) -> None:
    frame = len('{"a":""}')
    largest = "å" * ((MAX_BODY_BYTES - frame) // 2)
    assert publish(subscribing, build_event(body={"a": largest})).status_code == 202
    # Escapes and white space do not count.
    padded = json.dumps(build_event(body={"a": "\u00e5" * 10, "b": "x" * (MAX_BODY_BYTES - 60)}), indent=8).encode()
    assert publish(subscribing, padded).status_code == 202
    assert list_places(publish(subscribing, build_event(body={"a": largest + "x"}))) == [(None, "body", 1014)]


def test_request_is_limited_to_256_kib(subscribing: RunningService) -> None:
    body = json.dumps(build_event()).encode()
    assert publish(subscribing, body + b" " * (LIMIT - len(body))).status_code == 202
    (error,) = read_errors(publish(subscribing, body + b" " * (LIMIT - len(body) + 1)), 413)
    assert error["errorCode"] == 1014
    assert str(LIMIT) in error["message"]


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":NaN}', b'{"a":1,"a":1}', b"\xff", b"9" * 5000])
def test_body_that_is_not_json_is_1014(subscribing: RunningService, text: bytes) -> None:
    assert list_places(publish(subscribing, text)) == [(None, None, 1014)]


def test_unknown_query_parameters_are_reported_together_with_other_faults(subscribing: RunningService) -> None:
    response = subscribing.client.post("/v1/besked?x=1", json={}, headers={"apikey": PUBLISH_KEY})
    assert (None, "x", 1014) in list_places(response)
    assert len(list_places(response)) == 5


def test_authentication_precedes_validation(subscribing: RunningService) -> None:
    """401, then 413 and 415, then 403, then 400."""
    caller = create_caller(subscribing)
    for key in (None, "wrong", MESSAGES_KEY + PUBLISH_KEY):
        response = publish(subscribing, b"{" * LIMIT * 2, key, **caller.headers(content_type="text/plain"))
        (error,) = read_errors(response, 401)
        assert error["errorCode"] == 1012
        assert error["message"] == "API-nøgle mangler i headeren apikey, er ikke kendt eller er trukket tilbage"
        assert response.headers["www-authenticate"] == NO_KEY
    for key in (MESSAGES_KEY, PUBLISH_KEY):
        assert read_errors(publish(subscribing, b"{" * LIMIT * 2, key), 413)[0]["errorCode"] == 1014
        response = publish(subscribing, b"{", key, **{"content-type": "text/plain"})
        assert read_errors(response, 415)[0]["errorCode"] == 1014
    for body in (b"{", build_event()):
        (error,) = read_errors(publish(subscribing, body, MESSAGES_KEY), 403)
        assert error["errorCode"] == 1013
        assert error["message"] == "API-nøglen eller adgangstokenet giver ikke adgang til at oprette beskeder"


LIMITED = {"one-type": ("publish:1",), "one-code": ("publish:1:101", "publish:7:-1"), "all": ("publish", "publish:8")}


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        ({"orgType": 1, "orgCode": 101}, {"one-type", "one-code", "all"}),
        ({"orgType": 1, "orgCode": 102}, {"one-type", "all"}),
        ({"orgType": 10, "orgCode": 101}, {"all"}),
        ({"orgType": 7, "orgCode": -1}, {"one-code", "all"}),
    ],
)
def test_key_publishes_only_for_its_organisations(
    subscribing: RunningService, subject: dict[str, int], allowed: set[str]
) -> None:
    accepted = set()
    for name, key in put_limited_keys(subscribing).items():
        response = publish(subscribing, build_event(**subject), key)
        if response.status_code == 202:
            accepted.add(name)
            continue
        (error,) = read_errors(response, 403)
        assert error["errorCode"] == 1013
        assert error["message"].endswith("ikke adgang til at oprette beskeder med den angivne orgType og orgCode")
    assert accepted == allowed


def test_limit_of_a_key_is_checked_before_faults_of_other_properties(subscribing: RunningService) -> None:
    key = put_limited_keys(subscribing)["one-code"]
    assert read_errors(publish(subscribing, build_event(orgCode=102, entityType=UNKNOWN, aendringstype=9), key), 403)
    assert read_errors(publish(subscribing, build_event(orgCode=102, unknown=1), key), 403)
    for body in (
        build_event(orgCode="102"),
        build_event(orgType=2**31, orgCode=102),
        build_event(orgCode=...),
        [],
        b"{",
    ):
        faults = read_errors(publish(subscribing, body, key), 400)
        assert {fault["errorCode"] for fault in faults} == {1014}


def test_event_of_a_rejected_publisher_is_not_stored(subscribing: RunningService, org_code: int) -> None:
    keys = put_limited_keys(subscribing)
    body = build_event(orgCode=org_code, beskedId=create_id())
    assert publish(subscribing, body, keys["one-code"]).status_code == 403
    assert publish(subscribing, body, keys["one-type"]).status_code == 202
    assert publish(subscribing, body, keys["one-code"]).status_code == 403
    assert publish(subscribing, body, keys["one-type"]).status_code == 200


def put_limited_keys(service: RunningService) -> dict[str, str]:
    """Store a new key for each entry of `LIMITED`, and return the keys by its name."""
    keys = {name: generate_key() for name in LIMITED}

    async def store(database: Database) -> None:
        for name, key in keys.items():
            await api_keys.create(database, ApiKey(hash_key(key.encode()), create_id(), LIMITED[name], NOW))

    run_with_database(service.settings.database_url.get_secret_value(), store)
    return keys


def test_key_gives_no_access_to_operations_with_certificates(subscribing: RunningService) -> None:
    caller = Caller(subscribing, create_caller(subscribing).certificate, create_id())
    headers = {"apikey": PUBLISH_KEY}
    response = subscribing.client.get("/v1/abonnement/beskeder", headers=headers)
    assert read_errors(response, 401)[0]["errorCode"] == 1101
    assert read_errors(publish(subscribing, build_event(), None, **caller.headers()), 401)[0]["errorCode"] == 1012


def test_publishing_is_not_audited(subscribing: RunningService) -> None:
    """An event stores its publisher and request itself."""
    url = subscribing.settings.database_url.get_secret_value()
    for key, body in (
        (PUBLISH_KEY, build_event()),
        (PUBLISH_KEY, {}),
        (MESSAGES_KEY, build_event()),
        (None, build_event()),
    ):
        request_id = f"events-{create_id()}"
        assert publish(subscribing, body, key, **{"x-requestId": request_id}).headers["x-requestId"] == request_id
        assert read_audit(url, request_id) == []


def test_event_keeps_the_request_id_and_the_trace_for_its_receivers(subscribing: RunningService, org_code: int) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"x-requestId": "named-7", "traceparent": trace}
    published = publish(subscribing, build_event(orgCode=org_code), **headers).json()["beskedId"]
    assert (read_event(subscribing, published)["request_id"], read_event(subscribing, published)["trace_parent"]) == (
        "named-7",
        trace,
    )

    async def claim(database: Database) -> list[ClaimedDelivery]:
        later = datetime.now(UTC) + timedelta(minutes=1)
        return list(await claim_due(database, Lease("tests", later, later)))

    claimed = run_with_database(subscribing.settings.database_url.get_secret_value(), claim)
    found = [(each.request_id, each.trace_parent) for each in claimed if each.event_id == published]
    assert found == [("named-7", trace)] * 2
