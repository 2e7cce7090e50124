"""The payload and the URL of a delivery."""

import json
import re
from datetime import UTC, datetime

import pytest

from delivery.payload import build_url, write_payload
from tests.delivery.receiving import build_claimed_delivery, build_event
from tests.processes import REPOSITORY

WHOLE = build_event(
    external_id="11111111-0000-4000-8000-000000000001",
    version="7",
    identification_type=1,
    identification="9999991234",
    body={"navn": "Ærø", "entityType": 1, "n": [1, 2.5, None, True], "tom": {}},
)


def test_write_payload_contains_all_properties():
    assert json.loads(write_payload(build_claimed_delivery("https://a", WHOLE))) == {
        "beskedId": WHOLE.id,
        "entitetId": 100008,
        "entitetNavn": "Kontaktgruppe",
        "orgType": 8,
        "orgCode": 101,
        "eksternIdentifier": "11111111-0000-4000-8000-000000000001",
        "versionIdentifier": "7",
        "identifikationstypeId": 1,
        "identifikation": "9999991234",
        "aendringstype": 2,
        "tidspunkt": "2026-03-01T13:00:00.123000+01:00",
        "body": {"navn": "Ærø", "entityType": 1, "n": [1, 2.5, None, True], "tom": {}},
    }


def test_reference_lists_each_property_of_a_payload():
    page = (REPOSITORY / "docs" / "reference" / "wire-forms.md").read_text()
    table = page.split("same bytes in every attempt:\n")[1].split("\n\n[")[0]
    named = re.findall(
        r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    assert sorted(named) == sorted(json.loads(write_payload(build_claimed_delivery("https://a", WHOLE))))


def test_write_payload_omits_absent_values():
    written = json.loads(write_payload(build_claimed_delivery("https://a", entity_name=None)))
    assert set(written) == {"beskedId", "entitetId", "orgType", "orgCode", "aendringstype", "tidspunkt"}


def test_write_payload_keeps_an_empty_body():
    assert json.loads(write_payload(build_claimed_delivery("https://a", build_event(body={}))))["body"] == {}


def test_write_payload_is_compact_utf_8_and_the_same_each_time():
    written = write_payload(build_claimed_delivery("https://a", WHOLE))
    assert "Ærø".encode() in written
    assert b": " not in written
    assert written == write_payload(build_claimed_delivery("https://a", WHOLE, attempts=3))


@pytest.mark.parametrize(
    ("created", "written"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01T14:00:00+02:00"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25T02:30:00+02:00"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "2026-10-25T02:30:00+01:00"),
    ],
)
def test_write_payload_uses_copenhagen_time(created, written):
    assert (
        json.loads(write_payload(build_claimed_delivery("https://a", build_event(created=created))))["tidspunkt"]
        == written
    )


@pytest.mark.parametrize(
    ("base_url", "webhook_url", "called"),
    [
        ("https://fasit.example", "/", "https://fasit.example/"),
        ("https://fasit.example:8443/star", "/kontakt/", "https://fasit.example:8443/star/kontakt/"),
        ("https://fasit.example/%7Estar", "/a%2Fb/%41~;=@:", "https://fasit.example/%7Estar/a%2Fb/%41~;=@:"),
        ("http://[fd12::1]:8080", "/a", "http://[fd12::1]:8080/a"),
    ],
)
def test_address_of_joins_base_url_and_path(base_url, webhook_url, called):
    assert str(build_url(build_claimed_delivery(base_url, webhook_url=webhook_url))) == called
