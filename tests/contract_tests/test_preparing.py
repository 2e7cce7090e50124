"""Preparation of a check, and the reasons to refuse it; preparation changes nothing on the server."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from contract_tests.preparing import BrokenContractError, CannotCheckError, explore, set_up
from contract_tests.target import Certificate, CheckTarget, SubscriptionIdentity
from tests.contract_tests.stub_server import StubServer, running_stub

CURRENT: dict[str, Any] = {"orgType": 4, "orgCode": 66_600, "entityType": 9, "webhookUrl": "/a"}
GOOD: dict[str, tuple[int, Any]] = {
    "GET /webmessages/": (404, {}),
    "POST /webmessages": (400, {"violations": [{"field": "createWebMessage.Idempotency-Key", "message": "invalid"}]}),
    "GET /v1/abonnement?": (200, {"abonnementer": [CURRENT]}),
    "GET /v1/abonnement/beskeder": (200, {"beskeder": []}),
    "GET /v1/beskedtype/tilladte": (404, {}),
    "GET /v1/beskedtype/tilladte?orgType=4": (
        200,
        {
            "beskedtyper": [
                {"orgType": 4, "entityType": 8, "slutDato": "2020-01-01"},
                {"orgType": 4, "entityType": 9, "slutDato": None},
            ]
        },
    ),
    "POST /v1/besked": (400, {}),
    "POST /v1/abonnement/sync": (200, {}),
}
BOTH = ("web-messages", "subscriptions")


@pytest.fixture
def server() -> Iterator[StubServer]:
    with running_stub() as server:
        server.responses = {key: (status, json.dumps(value)) for key, (status, value) in GOOD.items()}
        yield server


def build_target(server: StubServer) -> CheckTarget:
    return CheckTarget(server.url, "k", "k", Certificate("", None, ":Q2VydA==:"), system="s")


def test_target_is_examined_without_changes(server: StubServer) -> None:
    target, current = explore(build_target(server), BOTH)
    assert current == [CURRENT]
    # The org code of the system's own subscriptions is kept; types that can no longer be subscribed to are not used.
    assert (target.queued, target.attacked) == (SubscriptionIdentity(4, 66_601, 9), SubscriptionIdentity(4, 66_602, 9))
    assert target.publish_key == "k"
    assert target.attacked_system == target.queued_system == "s"
    assert target.accepts_keys
    invalid, *changing = [(path, body) for method, path, body in server.requests if method != "GET"]
    assert invalid == ("/webmessages", b"{}")
    dry_run = "/v1/abonnement/sync?dryRun=true"
    assert [path for path, _ in changing] == [dry_run, "/v1/besked", "/v1/besked"]
    assert json.loads(changing[0][1])["abonnementer"] == [CURRENT], "where dry runs are none nothing is lost"


def test_only_requested_facts_are_examined(server: StubServer) -> None:
    target, current = explore(replace(build_target(server), certificate=None), ["web-messages"])
    assert (target.system, current) == (None, [])
    assert [(method, path.rpartition("/")[0]) for method, path, _ in server.requests] == [
        ("GET", "/webmessages"),
        ("POST", ""),
        ("GET", "/webmessages"),
    ]


VIOLATIONS = '{"violations": [{"field": "message", "message": "must not be blank"}]}'


@pytest.mark.parametrize("response", [(400, VIOLATIONS), (201, "Idempotency-Key"), (500, "Idempotency-Key")])
def test_target_that_reports_no_invalid_key_is_checked_without_keys(
    response: tuple[int, str], server: StubServer
) -> None:
    server.responses["POST /webmessages"] = response
    assert not explore(build_target(server), BOTH)[0].accepts_keys


@pytest.mark.parametrize("status", [401, 403, 404])
def test_key_without_access_to_events_skips_them(status: int, server: StubServer) -> None:
    server.responses["POST /v1/besked"] = (status, "{}")
    assert explore(build_target(server), BOTH)[0].publish_key is None


def render_current(**changes: Any) -> str:
    return json.dumps({"abonnementer": [CURRENT, CURRENT | changes]})


GIVEN_BACK = "could not be given its subscriptions back"
REFUSALS = {
    "key": ("GET /webmessages/", (401, "who?"), "the API key may not read web messages: 401 who?"),
    "scope": ("GET /webmessages/", (403, "no"), "the API key may not read web messages: 403 no"),
    "system": ("GET /v1/abonnement?", (403, "a\nb"), "may not touch system s (--system names another): 403 a b"),
    "queue": ("GET /v1/abonnement/beskeder", (200, '{"beskeder": [{}]}'), "messages wait for system s"),
    "an ended subscription": (
        "GET /v1/abonnement?",
        (200, render_current(slutDato="2020-12-31T23:59:59+01:00")),
        GIVEN_BACK,
    ),
    "an ended type": ("GET /v1/abonnement?", (200, render_current(entityType=8)), GIVEN_BACK),
    "no types": (
        "GET /v1/beskedtype/tilladte?orgType=4",
        (200, '{"beskedtyper": []}'),
        "no orgType from 0 to 99 may subscribe",
    ),
    "no catalogue": ("GET /v1/beskedtype/tilladte?orgType=4", (404, ""), "has no GET /v1/beskedtype/tilladte"),
}


@pytest.mark.parametrize(("where", "response", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_check_is_refused(where: str, response: tuple[int, str], words: str, server: StubServer) -> None:
    server.responses[where] = response
    with pytest.raises(CannotCheckError) as refused:
        explore(build_target(server), BOTH)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


BROKEN = {
    "no JSON": ("GET /v1/abonnement?", (200, "<html>"), "a response is not JSON"),
    "a list": ("GET /v1/abonnement?", (200, "[]"), "does not have the form of the contract"),
    "no properties": ("GET /v1/abonnement?", (200, '{"abonnementer": [{}]}'), "does not have the form of the contract"),
    "same set": ("POST /v1/abonnement/sync", (400, "no"), "the current set of system s may be given again"),
    "fault": ("GET /v1/abonnement?", (500, "down"), "the subscriptions of system s cannot be read: 500 down"),
}


@pytest.mark.parametrize(("where", "response", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_violation_before_a_check_is_reported(
    where: str, response: tuple[int, str], words: str, server: StubServer
) -> None:
    server.responses[where] = response
    with pytest.raises(BrokenContractError, match=re.escape(words)):
        explore(build_target(server), BOTH)


def test_missing_options_are_reported() -> None:
    target = CheckTarget("http://127.0.0.1:1")
    with pytest.raises(CannotCheckError, match="--api-key"):
        explore(target, BOTH)
    with pytest.raises(CannotCheckError, match="--client-cert"):
        explore(target, ["subscriptions"])


def test_set_up_removes_waiting_deliveries_of_remaining_subscriptions(server: StubServer) -> None:
    """A sync keeps the queue of remaining subscriptions, so the set is emptied first."""
    set_up(build_target(server).with_one_system("s", SubscriptionIdentity(1, 2, 3), SubscriptionIdentity(1, 3, 3)))
    sets = [json.loads(body)["abonnementer"] for _, _, body in server.requests]
    assert [[entry["orgCode"] for entry in entries] for entries in sets] == [[], [2, 3]]


def test_failed_set_up_is_reported(server: StubServer) -> None:
    target = build_target(server).with_one_system("s", SubscriptionIdentity(1, 2, 3), SubscriptionIdentity(1, 3, 3))
    set_up(target)
    server.responses["POST /v1/abonnement/sync"] = (500, "down")
    with pytest.raises(BrokenContractError, match="system s cannot be given subscriptions: 500 down"):
        set_up(target)
    with pytest.raises(BrokenContractError, match="a sync got no answer"):
        set_up(replace(target, url="http://127.0.0.1:1"))
