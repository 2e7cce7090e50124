"""Lists of messages: their content, order and pages."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from contract_tests.api import Api
from contract_tests.links import next_page
from contract_tests.rules.answers import describe_response, expect
from contract_tests.rules.messages import create_messages, list_ids, reference

pytestmark = pytest.mark.needs("sender")

Path = Callable[[str], str]


def by_party(party: str) -> str:
    return f"/webmessages/recipients/{party}"


def by_reference(value: str) -> str:
    return f"/webmessages/external-references/contract-check/{value}"


both_lists = pytest.mark.parametrize("path", [by_party, by_reference], ids=["party", "reference"])


def create(api: Api, named: str, count: int) -> list[str]:
    """Create messages with the same party and reference, and return their ids in the order of the list."""
    create_messages(api, reference("contract-check", named), count, partyId=named)
    return list_ids(listed(api, by_party(named)))


def listed(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = expect(api.call("GET", path, query=query), 200).json()
    return found


@both_lists
def test_nothing_found_is_an_empty_list(path: Path, api: Api) -> None:
    for query in ({}, {"limit": 1}):
        response = expect(api.call("GET", path(api.uuid()), query=query), 200)
        assert response.json() == [], describe_response(response)
        assert next_page(response) is None, f"the last page must have no Link, but it was {response.headers['Link']}"


def test_list_of_a_party_contains_only_its_messages(api: Api) -> None:
    party = api.unused_uuid()
    ids = [api.create_message(api.message(partyId=party)) for _ in range(2)]
    api.create_message(api.message(partyId=api.uuid()))
    api.create_message(api.message())
    assert sorted(list_ids(listed(api, by_party(party)))) == sorted(ids)


def test_list_of_a_reference_contains_each_message_once(api: Api) -> None:
    about = api.unused_reference()
    others = [reference(about["key"], "other"), reference("other", about["value"])]
    id_ = api.create_message(api.message(externalReferences=[*others, about]))
    api.create_message(api.message(externalReferences=others))
    assert list_ids(api.read_messages(**about)) == [id_]


@both_lists
def test_list_is_ordered_by_created_and_then_by_id(path: Path, api: Api) -> None:
    named = api.unused_uuid()
    ids = create_messages(api, reference("contract-check", named), 6, partyId=named)
    messages = listed(api, path(named))
    found = [(datetime.fromisoformat(message["created"]), message["id"]) for message in messages]
    assert found == sorted(found), f"expected the order of created and id, but got {list_ids(messages)}"
    assert sorted(list_ids(messages)) == sorted(ids)


@both_lists
def test_list_has_the_same_content_as_get(path: Path, api: Api) -> None:
    """The list contains the whole text and all references, including those that were not searched for."""
    named = api.unused_uuid()
    about = [reference("zebra", "1"), reference("contract-check", named), reference("alpha", "<2>")]
    text = "<b>Two lines</b>\r\nof åäö &amp; 😀 " * 100
    sent = api.message(message=text, partyId=named, externalReferences=about, sender={"userId": "joe & co"})
    for instance in ("internal", "external"):
        api.create_message(sent | {"oepInstance": instance})
    found = [*listed(api, path(named)), *listed(api, path(named), limit=2)]
    assert len(found) == 4, f"expected two messages, with a limit and without, but got {found}"
    for message in found:
        whole = api.read_message(message["id"])
        assert message == whole, f"a list must have the same content as GET by id, but has {message} instead of {whole}"


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 1000])
@both_lists
def test_pages_contain_the_whole_list(path: Path, limit: int, api: Api) -> None:
    """Each page but the last is full and links to the next with the same limit; nothing is missing or duplicated."""
    named = api.unused_uuid()
    ids = create(api, named, 5)
    pages = list(api.read_pages(f"{path(named)}?limit={limit}"))
    assert [id_ for page in pages for id_ in list_ids(page.json())] == ids
    wanted = [min(limit, 5 - start) for start in range(0, 5, limit)]
    assert [len(page.json()) for page in pages] == wanted, "every page except the last must be full, and none empty"
    for page in pages[:-1]:
        assert f"limit={limit}" in (next_page(page) or "").partition("?")[2].split("&"), page.headers["Link"]


@both_lists
def test_pages_contain_no_other_messages(path: Path, api: Api) -> None:
    """Requests for later pages contain the last position as well as the party or reference."""
    named, other = api.unused_uuid(), api.unused_uuid()
    for _ in range(3):
        for party in (named, other):
            create_messages(api, reference("contract-check", party), 1, partyId=party)
    ids = list_ids(listed(api, path(named)))
    found = [id_ for page in api.read_pages(f"{path(named)}?limit=1") for id_ in list_ids(page.json())]
    assert found == ids, f"expected only {ids} on the pages, but got {found}"


@both_lists
def test_list_without_a_limit_is_complete(path: Path, api: Api) -> None:
    named = api.unused_uuid()
    ids = create(api, named, 3)
    response = expect(api.call("GET", path(named)), 200)
    assert list_ids(response.json()) == ids
    assert next_page(response) is None, describe_response(response)


@both_lists
def test_cursor_remains_valid_when_messages_are_deleted(path: Path, api: Api) -> None:
    named = api.unused_uuid()
    ids = create(api, named, 5)
    first = expect(api.call("GET", f"{path(named)}?limit=2"), 200)
    for id_ in ids[:3]:
        expect(api.call("DELETE", f"/webmessages/{id_}"), 204)
    rest = [id_ for page in api.read_pages(next_page(first) or "") for id_ in list_ids(page.json())]
    assert rest == ids[3:], f"expected the rest {ids[3:]}, but got {rest}"


@both_lists
def test_after_without_a_limit_returns_all_remaining_messages(path: Path, api: Api) -> None:
    named = api.unused_uuid()
    ids = create(api, named, 4)
    link = next_page(expect(api.call("GET", f"{path(named)}?limit=1"), 200)) or ""
    after = next(item for item in link.partition("?")[2].split("&") if item.startswith("after="))
    response = expect(api.call("GET", f"{path(named)}?{after}"), 200)
    assert list_ids(response.json()) == ids[1:]
    assert next_page(response) is None, describe_response(response)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a/b", "c/d?e=f#g"),
        ("100%", "%2F"),
        ("%2f", "%252F"),
        ("a+b", "a b"),
        ("åäö", "😀 😀"),
        (" x ", "\ttab"),
        ("...", ".. "),
        ("k;v,=", "&'\"<>\\"),
        ("[]{}", "^`|~"),
        ("e\u0301\u00e9\u212b", "\u00a0\ufb01\u2003"),
    ],
)
def test_look_up_accepts_any_characters_in_references(key: str, value: str, api: Api) -> None:
    """Key and value are percent-encoded. A `/` in either is `%2F`, and double encoding gives another text."""
    party = api.unused_uuid()
    value = f"{value}{party}"
    (id_,) = create_messages(api, reference(key, value), 1, partyId=party)
    assert list_ids(api.read_messages(key, value)) == [id_]
    create_messages(api, reference(key, value), 1, partyId=party)
    path = f"/webmessages/external-references/{quote(key, safe='')}/{quote(value, safe='')}?limit=1"
    assert len({id_ for page in api.read_pages(path) for id_ in list_ids(page.json())}) == 2, (
        "a Link must keep key and value"
    )


def test_characters_that_need_no_encoding_are_literal(api: Api) -> None:
    """RFC 3986, section 3.3: `+` is not a space, and `;` begins no parameter."""
    named = f"{api.unused_uuid()}+a;b=c,d@e:f!$&'()*~"
    (id_,) = create_messages(api, reference("a+b;c", named), 1)
    response = expect(api.call("GET", f"/webmessages/external-references/a+b;c/{named}"), 200)
    assert list_ids(response.json()) == [id_], describe_response(response)


def test_reference_is_compared_exactly(api: Api) -> None:
    party = api.unused_uuid()
    value = f"aBc/ä {party}"
    create_messages(api, reference("errand", value), 1, partyId=party)
    assert len(api.read_messages("errand", value)) == 1
    others = [
        *((key, value) for key in ("Errand", "ERRAND", "errand ", "erran", "errand%")),
        *(
            ("errand", other)
            for other in (value.upper(), value.lower(), value[:-1], f"{value} ", value.replace("ä", "a"))
        ),
        *(("errand", other) for other in (value.replace("ä", "a\u0308"), value.replace("/", "_"), "%" + value[1:])),
        (value, "errand"),
    ]
    for key, other in others:
        found = api.read_messages(key, other)
        assert found == [], f"{key!a}/{other!a} must not match errand/{value!a}, but found {found}"


@pytest.mark.full
@pytest.mark.one_database
def test_list_of_more_than_1000_messages_is_complete(api: Api) -> None:
    named = api.unused_uuid()
    ids = create(api, named, 1001)
    assert len(ids) == 1001
    pages = [list_ids(page.json()) for page in api.read_pages(f"{by_party(named)}?limit=1000")]
    assert [len(page) for page in pages] == [1000, 1]
    assert [id_ for page in pages for id_ in page] == ids
