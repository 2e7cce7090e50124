"""The response contains every error of every entry, with its number and place, in the published order."""

import json
from typing import Any

import pytest

from contract_tests.api import SYNC, Api
from contract_tests.rules.answers import describe_response, expect, expect_error_list, expect_errors
from contract_tests.rules.subscription_sets import (
    DURATION,
    END,
    NOT_ALLOWED,
    NOT_VALID,
    TWICE,
    UNKNOWN,
    WEBHOOK,
    entries,
    expect_refused,
    identity,
    type_not_allowed,
    unknown_type,
)

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

NUMBERS = ("orgType", "orgCode", "entityType")
NO_NUMBERS = (..., None, "1", True, 1.5, -2, 2147483648, 10**30, [1], {})
NO_TEXTS = (..., None, 1, True, [], {})

BROKEN_SCHEMA: list[tuple[dict[str, Any], str, int]] = [
    *(({name: value}, name, NOT_VALID) for name in NUMBERS for value in NO_NUMBERS),
    ({"orgType": -1}, "orgType", NOT_VALID),
    ({"entityType": -1}, "entityType", NOT_VALID),
    ({"orgCode": 100_000_000}, "orgCode", NOT_VALID),
    *(({name: value}, name, NOT_VALID) for name in ("webhookUrl", "startDato") for value in NO_TEXTS),
    *(({"slutDato": value}, "slutDato", NOT_VALID) for value in NO_TEXTS[2:]),
    *(({name: 1}, name, NOT_VALID) for name in ("orgtype", "slutdato", "webhookURL")),
]


def test_each_entry_that_breaks_its_schema_is_reported_by_index_and_field(own_set: Api) -> None:
    """All invalid entries are reported together, and none of the valid ones between them."""
    own_set.subscribe(own_set.entry())
    request: list[Any] = []
    for changes, _, _ in BROKEN_SCHEMA:
        request += [own_set.entry(), own_set.entry(**changes)]
    places = [(2 * number + 1, field, code) for number, (_, field, code) in enumerate(BROKEN_SCHEMA)]
    expect_refused(own_set, request, *places)


def test_number_with_zero_fraction_is_that_integer_or_refused(own_set: Api) -> None:
    """1.0 equals 1 in JavaScript and is no integer elsewhere; it must not be read as another value."""
    for name in NUMBERS:
        entry = own_set.entry()
        response = expect(own_set.sync([entry | {name: float(entry[name])}]), 200, 400)
        if response.status_code == 400:
            expect_errors(response, 400, (0, name, NOT_VALID))
        else:
            assert [identity(found) for found in own_set.subscriptions()] == [identity(entry)], describe_response(
                response
            )


def test_numbers_at_the_limits_pass_the_schema(own_set: Api) -> None:
    """The schema accepts these numbers; other errors depend on what may be subscribed to."""
    ends = {"orgType": (0, 2147483647), "orgCode": (-1, 0, 99_999_999), "entityType": (0, 2147483647)}
    for name, numbers in ends.items():
        for number in numbers:
            response = own_set.sync([own_set.entry(**{name: number})], query={"dryRun": True})
            codes = {error["errorCode"] for error in response.json().get("errors", [])}
            assert codes <= {UNKNOWN, NOT_ALLOWED}, f"{name} {number} must be valid, but {describe_response(response)}"


@pytest.mark.parametrize("value", [None, 1, "x", [], True], ids=ascii)
def test_entry_that_is_not_an_object_is_reported_as_a_whole(value: object, own_set: Api) -> None:
    own_set.subscribe(own_set.entry())
    expect_refused(own_set, [own_set.entry(), value], (1, None, NOT_VALID))


def test_all_errors_of_all_entries_are_reported_in_order(own_set: Api) -> None:
    """Errors of the schema and of the rules are reported together. A rule applies wherever its inputs can be parsed."""
    first = own_set.entry()
    own_set.subscribe(own_set.entry())
    request = [
        first,
        own_set.entry(
            webhookUrl="x",
            startDato="2023-13-01T00:00:00",
            slutDato="2022-01-01T00:00:00",
            entityType=unknown_type(own_set),
        ),
        first | {"webhookUrl": 3, "slutDato": "2022-01-01T00:00:00"},
        own_set.entry(orgType="1"),
        own_set.entry(**type_not_allowed(own_set), startDato=..., slutDato="2024-03-31T02:30:00", unknown=1),
        7,
    ]
    expect_refused(
        own_set,
        request,
        (1, "entityType", UNKNOWN),
        (1, "slutDato", END),
        (1, "startDato", NOT_VALID),
        (1, "webhookUrl", WEBHOOK),
        (2, "entityType", TWICE),
        (2, "slutDato", DURATION),
        (2, "slutDato", END),
        (2, "webhookUrl", NOT_VALID),
        (3, "orgType", NOT_VALID),
        (4, "orgType", 150101),
        (4, "slutDato", NOT_VALID),
        (4, "startDato", NOT_VALID),
        (4, "unknown", NOT_VALID),
        (5, None, NOT_VALID),
    )


def test_faults_of_body_query_and_entries_are_reported_together(own_set: Api) -> None:
    body = {
        "systemIdentifier": own_set.target.system,
        "abonnementer": [own_set.entry(), own_set.entry(webhookUrl="x")],
        "more": 1,
    }
    expect_errors(
        own_set.call("POST", f"{SYNC}?dryRun=ja&x=1", body=body),
        400,
        (None, "dryRun", NOT_VALID),
        (None, "more", NOT_VALID),
        (None, "x", NOT_VALID),
        (1, "webhookUrl", WEBHOOK),
    )


def test_error_contains_the_integers_of_its_entry(own_set: Api) -> None:
    """Other values are null."""
    bad = own_set.entry(entityType=unknown_type(own_set), orgCode=-5)
    errors = expect_error_list(own_set.sync([bad, own_set.entry(orgType=1.5, orgCode="1", entityType=...), 7]), 400)
    for error in errors:
        found = (error["orgtype"], error["orgcode"], error["entitytype"])
        known = (bad["orgType"], bad["orgCode"], bad["entityType"]) if error["index"] == 0 else (None, None, None)
        assert found == known, f"the error must have orgtype, orgcode and entitytype {known}, but was {error}"


def test_error_contains_only_64_bit_integers(own_set: Api) -> None:
    """This includes integers that are invalid for the entry, because they identify it."""
    returned = (2**31, -(2**31) - 1, 2**63 - 1, -(2**63))
    returned_as_null = (2**63, -(2**63) - 1, 10**30, True, "1", 1.5, [1])
    request = [own_set.entry(**{name: value}) for value in (*returned, *returned_as_null) for name in NUMBERS]
    for error in expect_error_list(own_set.sync(request), 400):
        given = request[error["index"]][error["field"]]
        found = error[error["field"].lower()]
        wanted = given if given in returned else None
        assert found == wanted, f"expected {wanted} for {given!r}, but got {error}"


def test_ten_unknown_properties_of_an_entry_are_reported(own_set: Api) -> None:
    """For each entry, the first ten in the order of the request are reported."""
    names = [f"unknown{number:02}" for number in range(12)]
    request = [own_set.entry(**dict.fromkeys(names[:10], 1)), own_set.entry(**dict.fromkeys(names, 1))]
    places = [(index, name, NOT_VALID) for index in (0, 1) for name in names[:10]]
    expect_refused(own_set, request, *places)


def test_errors_of_entries_are_reported_for_any_system(own_set: Api) -> None:
    """Every error of every entry is reported, even if the system is unknown."""
    bad = own_set.entry(entityType=unknown_type(own_set), webhookUrl="x", slutDato="2022-01-01T00:00:00")
    places = [(0, "entityType", UNKNOWN), (0, "slutDato", DURATION), (0, "slutDato", END), (0, "webhookUrl", WEBHOOK)]
    for given in ({"systemIdentifier": "x"}, {"systemIdentifier": None}, {}):
        response = own_set.call("POST", SYNC, body=given | {"abonnementer": [bad]})
        expect_errors(response, 400, (None, "systemIdentifier", NOT_VALID), *places)


def test_error_of_an_orgtype_refers_to_the_look_up_of_allowed_types(own_set: Api) -> None:
    pair = type_not_allowed(own_set)
    (error,) = expect_errors(own_set.sync([own_set.entry(**pair)]), 400, (0, "orgType", 150101))
    assert str(pair["entityType"]) in error["message"], error
    assert "hentTilladteBeskedtyper" in error["message"], error


def test_every_error_of_many_entries_is_reported(own_set: Api) -> None:
    """The set has more than a thousand errors."""
    request = entries(own_set, 400, webhookUrl="x", slutDato="2022-01-01T00:00:00")
    fields = [("slutDato", DURATION), ("slutDato", END), ("webhookUrl", WEBHOOK)]
    places = [(index, field, code) for index in range(400) for field, code in fields]
    expect_refused(own_set, request, *places)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["abonnementer", "systemIdentifier"]),
        ([], [None]),
        (None, [None]),
        ({"systemIdentifier": 1, "abonnementer": {}}, ["abonnementer", "systemIdentifier"]),
        ({"systemIdentifier": "x", "abonnementer": []}, ["systemIdentifier"]),
        ({"systemIdentifier": "x", "abonnementer": None, "more": 1}, ["abonnementer", "more", "systemIdentifier"]),
    ],
    ids=ascii,
)
def test_faults_of_the_whole_body_are_reported(body: object, fields: list[str | None], api: Api) -> None:
    response = api.call("POST", SYNC, body=b"null" if body is None else body)
    expect_errors(response, 400, *((None, field, NOT_VALID) for field in fields))


@pytest.mark.parametrize("body", [b"", b"{", b"x", b'{"a": NaN}', b"\xff", b"[" * 1000])
def test_body_that_is_not_json_is_reported_as_a_whole(body: bytes, api: Api) -> None:
    (error,) = expect_errors(api.call("POST", SYNC, body=body), 400, (None, None, NOT_VALID))
    assert error["message"].startswith("Request validerer ikke"), error


def test_body_that_parsers_read_differently_is_refused(own_set: Api) -> None:
    """Duplicate names and unpaired surrogates are rejected: some parsers use the first duplicate, others the last."""
    entry = own_set.entry()
    own_set.subscribe(entry)
    good = json.dumps({"systemIdentifier": own_set.target.system, "abonnementer": [entry]})
    for body in (good.replace("{", '{"abonnementer": [], ', 1), good.replace('"/webhook', '"/\\ud800', 1)):
        expect_error_list(own_set.call("POST", SYNC, body=body.encode()), 400)
    assert [identity(found) for found in own_set.subscriptions()] == [identity(entry)], (
        "a rejected sync must not change the set"
    )


def test_all_faults_of_look_ups_are_reported(api: Api) -> None:
    system = api.target.system
    for path, fields in (
        ("/v1/abonnement", ["systemIdentifier"]),
        ("/v1/abonnement?systemIdentifier=x&limit=1", ["limit", "systemIdentifier"]),
        (f"/v1/abonnement?systemIdentifier={system}&dryRun=true", ["dryRun"]),
        ("/v1/beskedtype/tilladte", ["orgType"]),
        ("/v1/beskedtype/tilladte?orgType=1&entityType=1", ["entityType"]),
        *((f"/v1/beskedtype/tilladte?orgType={value}", ["orgType"]) for value in ("", "x", "1.0", "-1", "2147483648")),
    ):
        response = api.call("GET", path)
        expect_errors(response, 400, *((None, field, NOT_VALID) for field in fields))
        assert all(error["message"] for error in response.json()["errors"]), describe_response(response)
