"""Validation of the paths and queries of lists."""

from urllib.parse import quote

import pytest

from conftest import RunningService
from tests.handlers.messages import create_id, read_violations

BY_PARTY = f"/webmessages/recipients/{create_id()}"
BY_REFERENCE = "/webmessages/external-references/errand/xyz"
NO_PLACE = "not a place in a list that this service gave"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", [("limit", "must be at least 1")]),
        ("limit=-1", [("limit", "must be at least 1")]),
        ("limit=1001", [("limit", "must be at most 1000")]),
        ("limit=1_0", [("limit", "must be an integer")]),
        ("limit=%D9%A1", [("limit", "must be an integer")]),
        ("limit=+1", [("limit", "must be an integer")]),
        ("limit=1.0", [("limit", "must be an integer")]),
        ("limit=", [("limit", "must be an integer")]),
        ("limit=abc&after=x", [("after", NO_PLACE), ("limit", "must be an integer")]),
        ("limit=" + "9" * 5000, [("limit", "must be an integer")]),
        ("limit=" + "9" * 3000, [("limit", "must be at most 1000")]),
        ("limit=1&limit=2", [("limit", "must be given only once")]),
        ("after=", [("after", NO_PLACE)]),
        ("after=" + "g" * 43, [("after", NO_PLACE)]),
        ("after=" + "A" * 43, [("after", NO_PLACE)]),
        ("after=" + "0" * 44, [("after", NO_PLACE)]),
        ("after=" + "0" * 43 + "%0A", [("after", NO_PLACE)]),
        ("after=%00", [("after", "must not contain U+0000")]),
        ("after=%ff", [("after", "must be UTF-8")]),
        (
            "offset=1&Limit=1",
            [("Limit", "not a parameter of this operation"), ("offset", "not a parameter of this operation")],
        ),
        ("%ff=1", [("\ufffd", "not a parameter of this operation")]),
        ("limit", [("limit", "must be an integer")]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
@pytest.mark.parametrize(
    ("path", "operation"),
    [
        (BY_PARTY, "getWebMessagesByPartyId"),
        (BY_REFERENCE, "getWebMessagesByExternalReference"),
    ],
    ids=["party", "reference"],
)
def test_lists_report_faults_of_a_query(
    contract: RunningService, path: str, operation: str, query: str, expected: list[tuple[str, str]]
) -> None:
    found = read_violations(contract.client.get(f"{path}?{query}"))
    assert found == [(f"{operation}.{name}", message) for name, message in expected]


def test_too_many_query_parameters_are_refused(contract: RunningService) -> None:
    query = "&".join(f"p{number}=1" for number in range(101))
    assert read_violations(contract.client.get(f"{BY_PARTY}?{query}")) == [
        ("getWebMessagesByPartyId.query", "must have at most 100 parameters")
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("recipients/invalid", [("getWebMessagesByPartyId.partyId", "not a valid UUID")]),
        (
            "external-references/ab/cd",
            [
                ("getWebMessagesByExternalReference.key", "size must be between 3 and 128"),
                ("getWebMessagesByExternalReference.value", "size must be between 3 and 128"),
            ],
        ),
        (
            f"external-references/{'k' * 129}/{'v' * 129}",
            [
                ("getWebMessagesByExternalReference.key", "size must be between 3 and 128"),
                ("getWebMessagesByExternalReference.value", "size must be between 3 and 128"),
            ],
        ),
        (
            "external-references/%00%00%00/%ed%a0%80",
            [
                ("getWebMessagesByExternalReference.key", "must not contain U+0000"),
                ("getWebMessagesByExternalReference.value", "must be UTF-8"),
            ],
        ),
        (
            "recipients/invalid?limit=0&x=1",
            [
                ("getWebMessagesByPartyId.limit", "must be at least 1"),
                ("getWebMessagesByPartyId.partyId", "not a valid UUID"),
                ("getWebMessagesByPartyId.x", "not a parameter of this operation"),
            ],
        ),
    ],
)
def test_lists_report_faults_of_a_path(contract: RunningService, path: str, expected: list[tuple[str, str]]) -> None:
    assert read_violations(contract.client.get(f"/webmessages/{path}")) == expected


@pytest.mark.parametrize("characters", ["ä" * 128, "😀" * 128, "😀" * 3])
def test_lengths_in_a_path_are_counted_in_characters(contract: RunningService, characters: str) -> None:
    response = contract.client.get(f"/webmessages/external-references/{quote(characters)}/{quote(characters)}")
    assert (response.status_code, response.json()) == (200, [])
