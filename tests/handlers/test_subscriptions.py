"""The three operations with valid requests."""

import pytest

from conftest import RunningService
from tests.catalogue_rows import ALLOWED, ENDED, ORG_TYPE, OTHER
from tests.handlers.callers import Caller, build_entry, create_caller, read_errors


def test_sync_stores_the_set_of_the_request(caller: Caller) -> None:
    assert caller.sync(build_entry(), build_entry(entityType=OTHER)) == (2, 0, 0, 0, 0)
    assert caller.sync(build_entry(webhookUrl="/other"), build_entry(orgCode=102)) == (1, 1, 1, 0, 0)
    assert [(item["orgCode"], item["entityType"], item["webhookUrl"]) for item in caller.current()] == [
        (101, ALLOWED, "/other"),
        (102, ALLOWED, "/webhook"),
    ]
    assert caller.sync() == (0, 0, 2, 0, 0)
    assert caller.current() == []


def test_sync_of_the_same_set_changes_nothing(caller: Caller) -> None:
    wanted = [build_entry(slutDato=None), build_entry(orgCode=-1, slutDato=...)]
    assert caller.sync(*wanted) == (2, 0, 0, 0, 0)
    assert caller.sync(*reversed(wanted)) == (0, 0, 0, 2, 0)


def test_sync_accepts_the_response_of_get(caller: Caller) -> None:
    caller.sync(
        build_entry(startDato="2024-07-01T12:00:00.123456789Z", slutDato=None),
        build_entry(orgCode=0, startDato="2024-10-27T02:30:00", slutDato="2100-07-01T03:00:00"),
        build_entry(orgCode=99999999, startDato="1900-01-01T00:00:00", slutDato="2999-12-31T23:59:59.999999"),
    )
    response = caller.get()
    assert response.json()["systemIdentifier"] == caller.system_id
    assert [(item["startDato"], item["slutDato"]) for item in response.json()["abonnementer"]] == [
        ("2024-10-27T02:30:00+02:00", "2100-07-01T03:00:00+02:00"),
        ("2024-07-01T14:00:00.123456+02:00", None),
        ("1900-01-01T00:00:00+01:00", "2999-12-31T23:59:59.999999+01:00"),
    ]
    again = caller.send(response.json())
    assert again.json() == {"oprettet": 0, "opdateret": 0, "slettet": 0, "uaendret": 3, "slettedeBeskeder": 0}


def test_system_is_accepted_in_any_case_and_returned_in_lower_case(caller: Caller) -> None:
    body = caller.body(build_entry(), systemIdentifier=caller.system_id.upper())
    assert caller.send(body).json()["oprettet"] == 1
    assert caller.get(caller.system_id.upper()).json()["systemIdentifier"] == caller.system_id
    assert caller.sync(build_entry()) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize(("value", "is_dry"), [("true", True), ("false", False)])
def test_dry_run_returns_the_counts_and_changes_nothing(caller: Caller, value: str, is_dry: bool) -> None:
    caller.sync(build_entry())
    before = caller.current()
    assert caller.sync(build_entry(entityType=OTHER), query=f"?dryRun={value}") == (1, 0, 1, 0, 0)
    assert (caller.current() == before) == is_dry


def test_dry_run_reports_errors_too(caller: Caller) -> None:
    (error,) = read_errors(caller.send(caller.body(build_entry(entityType=ENDED)), "?dryRun=true"), 400)
    assert error["errorCode"] == 150002


def test_allowed_message_types_are_those_of_the_orgtype(caller: Caller) -> None:
    def allowed(org_type: int) -> object:
        query = {"orgType": org_type}
        return caller.service.client.get("/v1/beskedtype/tilladte", params=query, headers=caller.headers()).json()

    assert allowed(ORG_TYPE) == {
        "beskedtyper": [
            {"orgType": 1, "entityType": 202, "navn": "Type 202", "startDato": None, "slutDato": None},
            {"orgType": 1, "entityType": 203, "navn": "Type 203", "startDato": None, "slutDato": None},
            {"orgType": 1, "entityType": 204, "navn": "Type 204", "startDato": None, "slutDato": "2020-12-31"},
        ]
    }
    assert allowed(2147483647) == {"beskedtyper": []}


def test_each_system_has_its_own_set(subscribing: RunningService) -> None:
    one, other = create_caller(subscribing), create_caller(subscribing)
    one.sync(build_entry())
    other.sync(build_entry(), build_entry(orgCode=7))
    assert (len(one.current()), len(other.current())) == (1, 2)
