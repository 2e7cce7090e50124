"""Every error of a sync, each with its number and place, and all of them together."""

from typing import Any

import pytest

from persistence import tables
from tests.catalogue_rows import ALLOWED, ENDED, NOT_ALLOWED, OTHER, UNKNOWN, execute
from tests.handlers.callers import Caller, build_entry, list_places, read_errors

TIME_TEXTS = ["", "2023-01-01", "2023-01-01T00:00", "2023-01-01 00:00:00", "1899-12-31T23:59:59", "3000-01-01T00:00:00"]
NO_TIMES = ["2023-02-29T00:00:00", "2024-03-31T02:30:00", "1900-01-01T00:00:00+02:00", "2999-12-31T23:30:00Z"]
WEBHOOKS = [
    "",
    "webhook",
    "//x",
    "/a/../b",
    "/%2E%2e/",
    "/a?b",
    "/a#b",
    "/a%2Fb",
    "/a\\b",
    "/å",
    "/%zz",
    "/" + "a" * 1024,
]

NOT_ALLOWED_TEXT = (
    "Denne orgtype har ikke adgang til at abonnere på entity type 205. Tjek webservice metoden "
    "hentTilladteBeskedtyper (GET /v1/beskedtype/tilladte?orgType=1) for at se hvilke entiteter du må abonnere på"
)


ONE_FAULT: list[tuple[str, dict[str, Any], list[tuple[str, int]]]] = [
    ("negative", {"startDato": "2100-01-02T00:00:00", "slutDato": "2100-01-01T00:00:00"}, [("slutDato", 1003)]),
    ("past", {"slutDato": "2023-02-01T00:00:00"}, [("slutDato", 150000)]),
    ("negative-and-past", {"slutDato": "2022-01-01T00:00:00"}, [("slutDato", 1003), ("slutDato", 150000)]),
    ("unknown-type", {"entityType": UNKNOWN}, [("entityType", 150002)]),
    ("ended-type", {"entityType": ENDED}, [("entityType", 150002)]),
    ("not-allowed", {"entityType": NOT_ALLOWED}, [("orgType", 150101)]),
    ("not-allowed-orgtype", {"orgType": 2}, [("orgType", 150101)]),
    *((f"webhook-{text[:8]}", {"webhookUrl": text}, [("webhookUrl", 150102)]) for text in WEBHOOKS),
    *((f"webhook-{value}", {"webhookUrl": value}, [("webhookUrl", 1014)]) for value in (..., None, 1, [], {}, True)),
    *((f"start-{text}", {"startDato": text}, [("startDato", 1014)]) for text in TIME_TEXTS + NO_TIMES),
    *((f"end-{text}", {"slutDato": text}, [("slutDato", 1014)]) for text in TIME_TEXTS + NO_TIMES),
    *((f"start-{value}", {"startDato": value}, [("startDato", 1014)]) for value in (..., None, 1, ["x"])),
    *((f"end-{value}", {"slutDato": value}, [("slutDato", 1014)]) for value in (1, False, {})),
    *(
        (f"{name}-{value}"[:30], {name: value}, [(name, 1014)])
        for name in ("orgType", "orgCode", "entityType")
        for value in (..., None, "1", True, 1.0, 1e3, 1.5, -2, 2147483648, 2147483648.0, 10**30, -(10**4000), [1], {})
    ),
    ("orgCode-100000000", {"orgCode": 100_000_000}, [("orgCode", 1014)]),
    ("unknown-property", {"orgtype": 1}, [("orgtype", 1014)]),
    ("empty-property", {"": 1}, [(None, 1014)]),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in ONE_FAULT], ids=[row[0] for row in ONE_FAULT])
def test_each_fault_of_an_entry_is_reported_with_its_number(
    caller: Caller, changes: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    response = caller.send(caller.body(build_entry(orgCode=1), build_entry(**changes)))
    assert list_places(response) == [(1, *place) for place in expected]
    assert caller.current() == []


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_entry_that_is_not_an_object_is_reported_as_a_whole(caller: Caller, value: object) -> None:
    assert list_places(caller.send(caller.body(build_entry(), value))) == [(1, None, 1014)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [(None, "abonnementer", 1014), (None, "systemIdentifier", 1014)]),
        ([], [(None, None, 1014)]),
        (None, [(None, None, 1014)]),
        ({"systemIdentifier": 1, "abonnementer": {}}, [(None, "abonnementer", 1014), (None, "systemIdentifier", 1014)]),
        ({"systemIdentifier": "x", "abonnementer": []}, [(None, "systemIdentifier", 1014)]),
        ({"systemIdentifier": "x" * 100_000, "abonnementer": [], "more": 1}, None),
    ],
)
def test_faults_of_the_whole_body_are_reported(
    caller: Caller, body: Any, expected: list[tuple[None, str, int]] | None
) -> None:
    assert list_places(caller.send(body)) == (expected or [(None, "more", 1014), (None, "systemIdentifier", 1014)])


def test_texts_are_those_of_the_published_contract(caller: Caller) -> None:
    response = caller.send(
        caller.body(
            build_entry(slutDato="2022-01-01T00:00:00"),
            build_entry(entityType=UNKNOWN),
            build_entry(entityType=NOT_ALLOWED),
            build_entry(),
        )
    )
    assert [error["message"] for error in read_errors(response, 400)] == [
        "Den angivne varighed er negativ, startdato er større end slutdato",
        "Slutdato skal være dagsdato eller i fremtiden",
        "Det angivne beskedtypeId er ikke kendt i systemet",
        NOT_ALLOWED_TEXT,
        "Samme orgType, orgCode og entityType er allerede angivet tidligere i requestet",
    ]


def test_error_contains_the_integers_of_its_entry(caller: Caller) -> None:
    response = caller.send(
        caller.body(
            build_entry(orgType=2**63 - 1, orgCode=-5, entityType=UNKNOWN),
            build_entry(orgType=2**63, orgCode=1.5, entityType="202"),
            build_entry(orgType=True, orgCode=None, entityType=...),
            7,
        )
    )
    subjects = {
        error["index"]: (error["orgtype"], error["orgcode"], error["entitytype"])
        for error in read_errors(response, 400)
    }
    assert subjects == {0: (2**63 - 1, -5, UNKNOWN), 1: (None,) * 3, 2: (None,) * 3, 3: (None,) * 3}


def test_faults_of_schema_parameters_and_rules_are_reported_together(caller: Caller) -> None:
    body = caller.body(
        build_entry(),
        build_entry(
            webhookUrl="x", startDato="2023-13-01T00:00:00", slutDato="2022-01-01T00:00:00", entityType=UNKNOWN
        ),
        build_entry(webhookUrl=3, slutDato="2022-01-01T00:00:00"),
        build_entry(orgType="1", entityType=OTHER),
        more=1,
    )
    assert list_places(caller.send(body, "?dryRun=ja&x=1&dryRun=nej")) == [
        (None, "dryRun", 1014),
        (None, "more", 1014),
        (None, "x", 1014),
        (1, "entityType", 150002),
        (1, "slutDato", 150000),
        (1, "startDato", 1014),
        (1, "webhookUrl", 150102),
        (2, "entityType", 150103),
        (2, "slutDato", 1003),
        (2, "slutDato", 150000),
        (2, "webhookUrl", 1014),
        (3, "orgType", 1014),
    ]


def test_entries_of_an_unknown_system_are_checked_as_new_ones(caller: Caller) -> None:
    caller.sync(build_entry())
    body = caller.body(build_entry(), build_entry(entityType=UNKNOWN), systemIdentifier="x")
    assert list_places(caller.send(body)) == [(None, "systemIdentifier", 1014), (1, "entityType", 150002)]


def test_every_fault_of_200_entries_is_reported(caller: Caller) -> None:
    changes: list[tuple[dict[str, Any], list[tuple[str | None, int]]]] = [row[1:] for row in ONE_FAULT]  # type: ignore[misc]
    rows = [changes[index % len(changes)] for index in range(200)]
    body = caller.body(*(build_entry(**{"orgCode": index} | change) for index, (change, _) in enumerate(rows)))
    expected = [(index, *place) for index, (_, found) in enumerate(rows) for place in found]
    assert list_places(caller.send(body)) == expected


def test_at_most_ten_unknown_properties_of_an_entry_are_reported(caller: Caller) -> None:
    many = {f"x{number:03}": [number] for number in range(500)}
    found = list_places(
        caller.send(caller.body(build_entry() | many, {**many, **build_entry(webhookUrl=..., orgCode=5)}))
    )
    assert found == [
        *((0, f"x{number:03}", 1014) for number in range(10)),
        (1, "webhookUrl", 1014),
        *((1, f"x{number:03}", 1014) for number in range(10)),
    ]


def test_faults_of_look_ups_are_reported(caller: Caller) -> None:
    def get(path: str) -> list[tuple[int | None, str | None, int]]:
        return list_places(caller.service.client.get(path, headers=caller.headers()))

    assert get("/v1/abonnement") == [(None, "systemIdentifier", 1014)]
    assert get("/v1/abonnement?systemIdentifier=x&limit=1") == [
        (None, "limit", 1014),
        (None, "systemIdentifier", 1014),
    ]
    assert get(f"/v1/abonnement?systemIdentifier={caller.system_id}&systemIdentifier=%ff") == [
        (None, "systemIdentifier", 1014)
    ]
    assert get("/v1/beskedtype/tilladte") == [(None, "orgType", 1014)]
    for value in ("", "x", "1.0", "1e3", "-1", "2147483648", "9" * 5000, "%00", "%ff", "1_0"):
        assert get(f"/v1/beskedtype/tilladte?orgType={value}") == [(None, "orgType", 1014)]


def test_repeated_request_stays_valid_when_the_catalogue_changes(caller: Caller) -> None:
    table = tables.allowed_subscriptions
    execute(caller.database_url, tables.message_types.insert().values(entity_type=300, name="x"))
    execute(caller.database_url, table.insert().values(org_type=1, entity_type=300))
    caller.sync(build_entry(entityType=300))
    execute(caller.database_url, table.delete().where(table.c.entity_type == 300))
    execute(caller.database_url, tables.message_types.delete().where(tables.message_types.c.entity_type == 300))

    assert caller.sync(build_entry(entityType=300)) == (0, 0, 0, 1, 0)
    assert list_places(caller.send(caller.body(build_entry(entityType=300, webhookUrl="/x")))) == [
        (0, "entityType", 150002)
    ]


def test_refused_sync_changes_nothing(caller: Caller) -> None:
    caller.sync(build_entry())
    before = caller.current()
    assert list_places(
        caller.send(caller.body(build_entry(orgCode=9), build_entry(entityType=ALLOWED, webhookUrl=".")))
    ) == [(1, "webhookUrl", 150102)]
    assert caller.current() == before
