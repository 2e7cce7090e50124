"""Data that should have been rejected are found at their location, and no other data are."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, running_service
from contract_tests import attacks
from contract_tests.target import Certificate, CheckTarget, SubscriptionIdentity
from contract_tests.unwanted_data import find_unwanted_data
from tests.catalogue_rows import put_message_types, put_parked_message, put_system
from tests.handlers.callers import create_certificate

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
QUEUED, ATTACKED = SubscriptionIdentity(1, 101, 202), SubscriptionIdentity(1, 66606, 202)
PARKED = "3e4f4c1e-5798-41e9-ae24-57fa13b361e1"
OTHER_PARKED = "2d3f4c1e-5798-41e9-ae24-57fa13b361e1"


@pytest.fixture
def target(database_url: str) -> Iterator[CheckTarget]:
    """Yield our service, with one system for everything."""
    certificate = create_certificate()
    put_message_types(database_url)
    put_system(database_url, SYSTEM, certificate.fingerprint)
    put_parked_message(database_url, SYSTEM, tuple(ATTACKED.json().values()), PARKED)
    put_parked_message(database_url, SYSTEM, tuple(QUEUED.json().values()), OTHER_PARKED)
    known = Certificate("", None, certificate.header)
    with running_service(database_url=database_url, trusted_proxies="127.0.0.1") as service:
        target = CheckTarget(service.url, MESSAGES_KEY, PUBLISH_KEY, known, attacked_delivery=PARKED, is_direct=True)
        yield target.with_one_system(SYSTEM, QUEUED, ATTACKED)


def test_expected_data_are_no_harm(target: CheckTarget) -> None:
    assert target.send(attacks.post(attacks.text(externalReferences=[attacks.accepted_reference()]))).status == 201
    assert find_unwanted_data(target) == []


def test_stored_message_is_found(target: CheckTarget) -> None:
    assert target.send(attacks.post(attacks.text(externalReferences=[attacks.REFUSED_REFERENCE]))).status == 201
    (found,) = find_unwanted_data(target)
    assert found["externalReferences"] == [attacks.REFUSED_REFERENCE]


def test_created_subscription_is_found(target: CheckTarget) -> None:
    entries = [
        {"orgType": 1, "orgCode": code, "entityType": 202, "webhookUrl": "/webhook", "startDato": "2023-01-01T00:00:00"}
        for code in (101, 7, 66606)
    ]
    body = {"systemIdentifier": SYSTEM, "abonnementer": entries}
    assert target.send(attacks.sync(json.dumps(body).encode())).status == 200
    assert [entry["orgCode"] for entry in find_unwanted_data(target)] == [7]


def test_published_or_replayed_message_is_found(target: CheckTarget) -> None:
    body = json.dumps({**ATTACKED.json(), "aendringstype": 1, "body": {}}).encode()
    event = attacks.request("POST", "/v1/besked", body=body, content_type=attacks.JSON, key=PUBLISH_KEY)
    assert target.send(event).status == 202
    (found,) = find_unwanted_data(target)
    assert (found["orgCode"], found["status"]) == (66606, "venter")
    assert len(find_unwanted_data(replace(target, attacked_delivery=None))) == 2


def test_unknown_data_are_not_read(target: CheckTarget) -> None:
    assert find_unwanted_data(CheckTarget(target.url)) == []
