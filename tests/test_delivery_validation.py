"""A wrong delivery of each kind is detected, and fails the test that caused it."""

import json
from typing import Any

import httpx
import pytest

from openapi.application import read_spec
from tests.delivery_validation import RecordedDelivery, find_delivery_faults
from tests.held_receiver import held_receiver
from tests.processes import REPOSITORY
from tests.response_recording import take_faults

OPERATION = read_spec(REPOSITORY / "spec", "deliveries")["paths"]["/webhook"]["post"]
EXAMPLES = {
    name: example["value"]
    for name, example in OPERATION["requestBody"]["content"]["application/json"]["examples"].items()
}
HEADERS = {
    "host": "receiver.example",
    "content-type": "application/json",
    "user-agent": "Budkavle",
    **{parameter["name"]: parameter["example"] for parameter in OPERATION["parameters"]},
}
START = "POST /star/webhook HTTP/1.1"


def delivery(
    content: bytes | None = None, start: str = START, headers: dict[str, str | None] | None = None, **properties: Any
) -> RecordedDelivery:
    """Return a delivery of the contract's example with these changes; None removes a header or property."""
    changed = {name: value for name, value in (EXAMPLES["event"] | properties).items() if value is not None}
    content = content or json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode()
    sent = {**HEADERS, "content-length": str(len(content)), **(headers or {})}
    return RecordedDelivery(start, [(name, value) for name, value in sent.items() if value is not None], content)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_have_no_faults(example: str) -> None:
    body = json.dumps(EXAMPLES[example], ensure_ascii=False, separators=(",", ":")).encode()
    assert find_delivery_faults(delivery(body)) == []


def test_delivery_without_optional_headers_has_no_faults() -> None:
    absent = dict.fromkeys(("webhook-signature", "x-request-id", "traceparent"))
    assert find_delivery_faults(delivery(headers=absent)) == []


def test_credentials_for_a_gateway_have_no_faults() -> None:
    headers = {"x-api-key": "key of the gateway", "authorization": "Bearer eyJh.eyJp.c2ln=="}
    assert find_delivery_faults(delivery(headers=headers)) == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (delivery(start="GET /star/webhook HTTP/1.1"), "the request is"),
        (delivery(headers={"webhook-id": None}), "the header webhook-id is missing"),
        (delivery(headers={"webhook-id": "7F1C6C1E-0b6f-4f0c-9a63-0e4f1d2b3c4d"}), "the header webhook-id: "),
        (delivery(headers={"webhook-timestamp": "now"}), "the header webhook-timestamp: "),
        (delivery(headers={"webhook-signature": "v1,AAAA"}), "the header webhook-signature: "),
        (delivery(headers={"webhook-signature": f"{HEADERS['webhook-signature']},"}), "the header webhook-signature: "),
        (delivery(headers={"authorization": "Bearer a b"}), "the header authorization has another form"),
        (delivery(headers={"x-api-key": ""}), "the header x-api-key has another form"),
        (delivery(headers={"x-other": "1"}), "the header x-other is not documented"),
        (delivery(headers={"content-type": "text/plain"}), "the content types are"),
        (delivery(headers={"content-length": None}), "the content lengths are"),
        (delivery(b"{"), "the body is not JSON"),
        (delivery(json.dumps(EXAMPLES["event"]).encode()), "the body is not compact JSON"),
        (delivery(body_of="other"), "the property body_of is not documented"),
        (delivery(beskedId=None), '"beskedId" is a required property'),
        (delivery(beskedId="1"), "the body: beskedId"),
        (delivery(aendringstype=4), "the body: aendringstype"),
        (delivery(tidspunkt="2026-01-15T10:30:00Z"), "the body: tidspunkt"),
        (delivery(identifikation=None), "the body: "),
        (delivery(body={"text": "x" * 131_072}), "the body has 131"),
    ],
)
def test_faults_of_a_wrong_delivery_are_reported(wrong: RecordedDelivery, expected: str) -> None:
    assert any(expected in fault for fault in find_delivery_faults(wrong)), find_delivery_faults(wrong)


def test_repeated_header_is_reported() -> None:
    good = delivery()
    twice = RecordedDelivery(good.start, [*good.headers, ("webhook-id", HEADERS["webhook-id"])], good.body)
    assert find_delivery_faults(twice) == ["the header webhook-id occurs 2 times"]


def test_receiver_records_deliveries_only() -> None:
    with held_receiver(is_held=False) as receiver:
        httpx.post(f"{receiver.url}/a", json={}, trust_env=False, verify=False)
        assert take_faults() == []
        httpx.post(
            f"{receiver.url}/a", json={}, headers={"webhook-id": HEADERS["webhook-id"]}, trust_env=False, verify=False
        )
    faults = take_faults()
    where = f"delivery POST /a HTTP/1.1 {HEADERS['webhook-id']}: "
    assert f"{where}the header webhook-timestamp is missing" in faults
    assert f'{where}the body: : "beskedId" is a required property' in faults
