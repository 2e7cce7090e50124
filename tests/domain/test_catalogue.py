"""The difference between two catalogues."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import (
    Allowed,
    Catalogue,
    Change,
    ClientAuthentication,
    ClientCertificate,
    Item,
    PartInUse,
    SubscriptionCount,
    WebMessageEvent,
    find_parts_in_use,
    list_parts,
    plan_apply,
)
from domain.subscriptions import MessageType
from tests.catalogues import (
    EMPTY,
    FINGERPRINT,
    HEADERS,
    OTHER_ID,
    SYSTEM_ID,
    TOKEN_CLIENT,
    build_catalogue,
    build_message_type,
    build_system,
)

FULL_SYSTEM = build_system(
    webhook_secrets=("env:NEW", "file:/secrets/old"),
    allow_private_addresses=True,
    client_certificate=ClientCertificate("file:/own.pem", "file:/own.key"),
    ca="file:/ca.pem",
    headers=HEADERS,
    oauth2=TOKEN_CLIENT,
)


def test_list_parts_uses_the_words_of_the_file() -> None:
    whole = build_catalogue(
        FULL_SYSTEM,
        types=[build_message_type(start=date(2024, 10, 1)), 203],
        event=WebMessageEvent(7, -1, 203),
    )
    assert list_parts(whole) == {
        Item("system", (SYSTEM_ID,)): {
            "name": "Fasit",
            "baseUrl": "https://fasit.example/star",
            "certificates": [f"sha256:{FINGERPRINT}"],
            "webhookSecrets": ["env:NEW", "file:/secrets/old"],
            "allowPrivateAddresses": True,
            "clientCertificate": {"certificate": "file:/own.pem", "key": "file:/own.key"},
            "ca": "file:/ca.pem",
            "headers": {"Authorization-2": "file:/secrets/two", "X-Api-Key": "env:GATEWAY_KEY"},
            "oauth2": {
                "tokenUrl": "https://login.example/token",
                "clientId": "budkavle",
                "clientSecret": "env:CLIENT_SECRET",
                "scope": "star.webhooks",
                "audience": "https://api.example",
                "resource": "urn:api",
                "authentication": "client_secret_post",
            },
        },
        Item("messageType", (202,)): {"name": "Type 202", "startDato": "2024-10-01", "slutDato": None},
        Item("messageType", (203,)): {"name": "Type 203", "startDato": None, "slutDato": None},
        Item("allowedSubscription", (1, 202)): {},
        Item("allowedSubscription", (2, 203)): {},
        Item("webMessageEvent", ()): {"orgType": 7, "orgCode": -1, "entityType": 203},
    }


def test_plan_apply_of_the_current_catalogue_is_empty() -> None:
    assert plan_apply(EMPTY, EMPTY) == ()
    assert plan_apply(build_catalogue(FULL_SYSTEM), build_catalogue(FULL_SYSTEM)) == ()


def test_plan_apply_fills_and_empties_a_catalogue() -> None:
    whole = build_catalogue(
        build_system(OTHER_ID), build_system(), types=[203, 30, 202], event=WebMessageEvent(7, 281, 202)
    )
    items = [
        Item("system", (SYSTEM_ID,)),
        Item("system", (OTHER_ID,)),
        Item("messageType", (30,)),
        Item("messageType", (202,)),
        Item("messageType", (203,)),
        Item("allowedSubscription", (1, 202)),
        Item("allowedSubscription", (2, 203)),
        Item("webMessageEvent", ()),
    ]
    assert plan_apply(EMPTY, whole) == tuple(Change(item, None, list_parts(whole)[item]) for item in items)
    assert plan_apply(whole, EMPTY) == tuple(Change(item, list_parts(whole)[item], None) for item in items)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Momentum"},
        {"base_url": "https://other.example"},
        {"certificates": frozenset()},
        {"certificates": frozenset({FINGERPRINT, "00" * 32})},
        {"webhook_secrets": ("file:/secrets/old", "env:NEW")},
        {"allow_private_addresses": False},
        {"client_certificate": None},
        {"client_certificate": ClientCertificate("file:/own.pem", "file:/new.key")},
        {"ca": None},
        {"headers": HEADERS[:1]},
        {"headers": (HEADERS[0], HEADERS[1]._replace(value="env:OTHER"))},
        {"oauth2": None},
        *(
            {"oauth2": replace(TOKEN_CLIENT, **{name: "other"})}
            for name in ("token_url", "client_id", "client_secret", "scope", "audience", "resource")
        ),
        {"oauth2": replace(TOKEN_CLIENT, scope=None)},
        {"oauth2": replace(TOKEN_CLIENT, authentication=ClientAuthentication.BASIC)},
    ],
    ids="-".join,
)
def test_plan_apply_detects_each_change_of_a_system(changes: dict[str, object]) -> None:
    before, after = build_catalogue(FULL_SYSTEM), build_catalogue(replace(FULL_SYSTEM, **changes))
    item = Item("system", (SYSTEM_ID,))
    assert plan_apply(before, after) == (Change(item, list_parts(before)[item], list_parts(after)[item]),)


@pytest.mark.parametrize(
    "after",
    [
        build_message_type(name="Other"),
        build_message_type(start=date(2024, 1, 1), end=date(2030, 1, 1)),
        build_message_type(start=date(2024, 1, 2)),
    ],
)
def test_plan_apply_detects_each_change_of_a_message_type(after: MessageType) -> None:
    before = build_message_type(start=date(2024, 1, 1))
    (change,) = plan_apply(build_catalogue(types=[before, 203]), build_catalogue(types=[after, 203]))
    assert change.item == Item("messageType", (202,))


def test_plan_apply_detects_another_event() -> None:
    before, after = (build_catalogue(event=WebMessageEvent(7, code, 202)) for code in (1, 2))
    (change,) = plan_apply(before, after)
    assert change.before == {"orgType": 7, "orgCode": 1, "entityType": 202}
    assert change.after == {"orgType": 7, "orgCode": 2, "entityType": 202}


NUMBERS = st.integers(0, 3)
CATALOGUES = st.builds(
    lambda ids, names, pairs, event: Catalogue(
        systems={id_: build_system(id_, name=name) for id_, name in ids.items()},
        message_types={number: MessageType(number, name) for number, name in names.items()},
        allowed=frozenset(Allowed(*pair) for pair in pairs),
        web_message_event=event,
    ),
    st.dictionaries(st.sampled_from([SYSTEM_ID, OTHER_ID]), st.sampled_from("ab")),
    st.dictionaries(NUMBERS, st.sampled_from("ab")),
    st.sets(st.tuples(NUMBERS, NUMBERS)),
    st.none() | st.builds(WebMessageEvent, NUMBERS, NUMBERS, NUMBERS),
)


@given(CATALOGUES, CATALOGUES)
def test_plan_apply_contains_the_complete_difference(current: Catalogue, wanted: Catalogue) -> None:
    parts = list_parts(current)
    for change in plan_apply(current, wanted):
        assert parts.pop(change.item, None) == change.before
        if change.after is not None:
            parts[change.item] = dict(change.after)
    assert parts == list_parts(wanted)


def test_in_use_lists_each_removed_part_with_its_users() -> None:
    changes = plan_apply(
        build_catalogue(build_system(), build_system(OTHER_ID)),
        build_catalogue(build_system(OTHER_ID), types=[203], allowed=[]),
    )
    uses = [
        SubscriptionCount(SYSTEM_ID, 1, 202, 3),
        SubscriptionCount(OTHER_ID, 1, 202, 4),
        SubscriptionCount(OTHER_ID, 1, 203, 5),
    ]
    assert find_parts_in_use(changes, uses) == (
        PartInUse(Item("system", (SYSTEM_ID,)), (SYSTEM_ID,), 3),
        PartInUse(Item("messageType", (202,)), (SYSTEM_ID, OTHER_ID), 7),
        PartInUse(Item("allowedSubscription", (1, 202)), (SYSTEM_ID, OTHER_ID), 7),
    )


def test_in_use_allows_unused_removals_and_changes() -> None:
    before = build_catalogue(build_system(), build_system(OTHER_ID), event=WebMessageEvent(1, 1, 202))
    after = build_catalogue(
        build_system(name="Other"), types=[build_message_type(name="Other"), 203], allowed=[(1, 202)]
    )
    assert find_parts_in_use(plan_apply(before, after), [SubscriptionCount(SYSTEM_ID, 1, 202, 3)]) == ()
