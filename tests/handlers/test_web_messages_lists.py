"""Lists over HTTP: their content, order and pages."""

import asyncio
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.responses import Response, StreamingResponse

from conftest import RunningService
from domain.web_messages import ExternalReference, WebMessage
from handlers.message_json import LONG_TEXT
from handlers.message_lists import PAGE, respond_with_all
from handlers.web_messages import FORMAT
from persistence import web_messages as stored
from persistence.opening import open_database
from persistence.web_message_lists import Position
from tests.factories import NOW, build_web_message
from tests.handlers.messages import UNKNOWN_ID, create_id, get_message, post_message


def put(service: RunningService, party_id: str, count: int, value: str = "1", created: Any = NOW) -> list[str]:
    """Store messages without HTTP, all created at the same time, and return their ids in the order of a list."""
    ids = sorted(str(uuid.uuid4()) for _ in range(count))

    async def store() -> None:
        database = open_database(service.settings.database_url.get_secret_value())
        references = (ExternalReference("errand", value),)
        for message_id in ids:
            message = build_web_message(
                id=message_id, party_id=party_id, external_references=references, created=created
            )
            await stored.store(database, message)
        await database.close()

    asyncio.run(store())
    return ids


def list_ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [message["id"] for message in response.json()]


def read_next_page(response: httpx.Response) -> str:
    match = re.fullmatch(r'<(/webmessages/[^>]+)>; rel="next"', response.headers["link"])
    assert match is not None
    return match[1]


def build_path_by_party(party_id: str) -> str:
    return f"/webmessages/recipients/{party_id}"


def build_path_by_reference(party_id: str) -> str:
    return f"/webmessages/external-references/errand/{party_id}"


@pytest.mark.parametrize(
    "path", [build_path_by_party(UNKNOWN_ID), "/webmessages/external-references/errand/nothing-here"]
)
def test_empty_list_is_returned_without_messages(shared: RunningService, path: str) -> None:
    response = shared.client.get(path)
    assert (response.status_code, response.json()) == (200, [])
    assert "link" not in response.headers


def test_list_contains_attachments_without_content(shared: RunningService) -> None:
    party_id = create_id()
    message_id = post_message(shared, partyId=party_id, attachments=[{"fileName": "a.txt", "base64Data": "YQ=="}])
    whole = get_message(shared, message_id)
    assert whole["attachments"][0].pop("base64Data") == "YQ=="
    assert set(whole["attachments"][0]) == {"id", "fileName", "mimeType", "size", "sha256"}
    assert shared.client.get(build_path_by_party(party_id)).json() == [whole]


def test_list_begins_with_the_oldest(shared: RunningService) -> None:
    party_id = create_id()
    ids = [post_message(shared, partyId=party_id) for _ in range(3)]
    older = put(shared, party_id, 1, created=NOW - timedelta(milliseconds=1))
    oldest = put(shared, party_id, 1, created=NOW - timedelta(days=1))
    values = shared.client.get(build_path_by_party(party_id)).json()
    found = [value["id"] for value in values]
    assert found[:2] == [*oldest, *older]
    assert sorted(found[2:]) == sorted(ids)
    assert [(value["created"], value["id"]) for value in values] == sorted(
        (value["created"], value["id"]) for value in values
    )


def test_list_contains_only_messages_of_the_party(shared: RunningService) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 2)
    put(shared, create_id(), 1)
    assert list_ids(shared.client.get(build_path_by_party(party_id))) == ids


def test_list_by_reference_compares_key_and_value_exactly(shared: RunningService) -> None:
    value = create_id()
    ids = put(shared, create_id(), 1, value=value)
    assert list_ids(shared.client.get(f"/webmessages/external-references/errand/{value}")) == ids
    for key, other in (("Errand", value), ("errand", value.upper()), ("errand ", value), ("errand", value[:-1])):
        path = f"/webmessages/external-references/{quote(key)}/{quote(other)}"
        assert list_ids(shared.client.get(path)) == []


def test_list_by_reference_contains_each_message_once(shared: RunningService) -> None:
    value = create_id()
    references = [
        {"key": "errand", "value": value},
        {"key": "errand", "value": "other"},
        {"key": "other", "value": value},
    ]
    message_id = post_message(shared, externalReferences=references)
    assert list_ids(shared.client.get(f"/webmessages/external-references/errand/{value}")) == [message_id]


@pytest.mark.parametrize(
    ("key", "value"),
    [("a/b", "c/d?e=f#g"), ("100%", "%2F"), ("åäö", "😀😀😀"), (" x ", "a+b c"), ("...", "..."), ("k;v,=", "&'\"<>\\")],
)
def test_list_by_reference_finds_every_stored_character(shared: RunningService, key: str, value: str) -> None:
    message_id = post_message(shared, externalReferences=[{"key": key, "value": value}])
    path = f"/webmessages/external-references/{quote(key, safe='')}/{quote(value, safe='')}"
    assert message_id in list_ids(shared.client.get(path))
    response = shared.client.get(f"{path}?limit=1")
    assert response.status_code == 200


def test_slash_in_a_reference_is_kept_while_paging(shared: RunningService) -> None:
    value = f"a/b ä {create_id()}"
    ids = put(shared, create_id(), 3, value=value)
    response = shared.client.get(f"/webmessages/external-references/errand/{quote(value, safe='')}?limit=2")
    assert list_ids(response) == ids[:2]
    assert list_ids(shared.client.get(read_next_page(response))) == ids[2:]


@pytest.mark.parametrize("path", [build_path_by_party, build_path_by_reference], ids=["party", "reference"])
def test_pages_are_continuous_with_equal_times(shared: RunningService, path: Callable[[str], str]) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 5, value=party_id)
    first = shared.client.get(f"{path(party_id)}?limit=2")
    assert list_ids(first) == ids[:2]
    assert read_next_page(first).startswith(f"{path(party_id)}?limit=2&after=")
    second = shared.client.get(read_next_page(first))
    assert list_ids(second) == ids[2:4]
    last = shared.client.get(read_next_page(second))
    assert list_ids(last) == ids[4:]
    assert "link" not in last.headers


@pytest.mark.parametrize(("limit", "count"), [(3, 3), (4, 3), (1000, 3)])
def test_last_page_has_no_link(shared: RunningService, limit: int, count: int) -> None:
    party_id = create_id()
    put(shared, party_id, count)
    response = shared.client.get(f"{build_path_by_party(party_id)}?limit={limit}")
    assert len(response.json()) == count
    assert "link" not in response.headers


@pytest.mark.parametrize("path", [build_path_by_party, build_path_by_reference], ids=["party", "reference"])
def test_cursor_remains_valid_when_its_message_is_deleted(shared: RunningService, path: Callable[[str], str]) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 4, value=party_id)
    first = shared.client.get(f"{path(party_id)}?limit=2")
    for message_id in (ids[0], ids[1], ids[2]):
        assert shared.client.delete(f"/webmessages/{message_id}").status_code == 204
    assert list_ids(shared.client.get(read_next_page(first))) == ids[3:]


def test_after_without_a_limit_returns_all_remaining_messages(shared: RunningService) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 4)
    after = read_next_page(shared.client.get(f"{build_path_by_party(party_id)}?limit=1")).rpartition("&")[2]
    response = shared.client.get(f"{build_path_by_party(party_id)}?{after}")
    assert list_ids(response) == ids[1:]
    assert "link" not in response.headers


def test_link_has_the_party_in_lower_case(shared: RunningService) -> None:
    party_id = create_id()
    put(shared, party_id, 2)
    response = shared.client.get(f"{build_path_by_party(party_id.upper())}?limit=1")
    assert read_next_page(response).startswith(f"{build_path_by_party(party_id)}?")


def test_lists_without_a_limit_return_more_than_one_page_of_500(shared: RunningService) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 501, value=party_id)
    for path in (build_path_by_party(party_id), build_path_by_reference(party_id)):
        response = shared.client.get(path)
        assert list_ids(response) == ids
        assert "link" not in response.headers
    shared.client.delete(f"/webmessages/{ids[-1]}")
    assert list_ids(shared.client.get(build_path_by_party(party_id))) == ids[:-1]


@pytest.mark.parametrize("after", ["0" * 43, "f" * 43])
def test_every_text_in_the_form_of_a_cursor_is_valid(shared: RunningService, after: str) -> None:
    party_id = create_id()
    ids = put(shared, party_id, 1)
    assert list_ids(shared.client.get(f"{build_path_by_party(party_id)}?after={after}")) == (
        ids if after[0] == "0" else []
    )


@pytest.mark.parametrize("path_of", [build_path_by_party, build_path_by_reference])
def test_pages_of_times_finer_than_a_millisecond_contain_each_message_once(
    shared: RunningService, path_of: Callable[[str], str]
) -> None:
    party_id = create_id()
    ids = []
    for microseconds in (123, 124, 124, 999):
        ids += put(shared, party_id, 2, party_id, NOW + timedelta(microseconds=microseconds))
    ids = ids[:2] + sorted(ids[2:6]) + ids[6:]
    found, path = [], f"{path_of(party_id)}?limit=1"
    while path:
        response = shared.client.get(path)
        found += list_ids(response)
        path = read_next_page(response) if "link" in response.headers else ""
        assert len(found) <= len(ids)
    assert found == ids


def test_list_without_limit_of_one_millisecond_ends(shared: RunningService) -> None:
    party_id = create_id()
    ids = put(shared, party_id, PAGE, party_id, NOW + timedelta(microseconds=1))
    ids += put(shared, party_id, PAGE + 1, party_id, NOW + timedelta(microseconds=2))
    assert list_ids(shared.client.get(build_path_by_party(party_id))) == ids


async def read_pieces(response: Response) -> list[bytes]:
    assert isinstance(response, StreamingResponse)
    return [bytes(piece) async for piece in response.body_iterator]


def test_list_that_does_not_advance_ends_with_an_error(run: Callable[[Any], Any]) -> None:
    page = [build_web_message(created=NOW) for _ in range(PAGE)]

    async def read(_limit: int, _after: Position | None) -> list[WebMessage]:
        return page

    async def work() -> None:
        with pytest.raises(RuntimeError, match="does not advance"):
            await read_pieces(await respond_with_all(read, None, FORMAT))

    run(work())


def test_long_list_yields_to_other_callers_after_each_page(run: Callable[[Any], Any]) -> None:
    pages = [[build_web_message(created=NOW + timedelta(seconds=number))] * PAGE for number in range(10)]

    async def read(_limit: int, after: Position | None) -> list[WebMessage]:
        # SQLite reads do not wait.
        return next((page for page in pages if after is None or (page[0].created or NOW) > after.created), [])

    async def work() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        pieces = await read_pieces(await respond_with_all(read, None, FORMAT))
        task.cancel()
        assert len(pieces) == 11
        assert turns >= 10

    run(work())


def test_lists_of_long_texts_are_complete(shared: RunningService) -> None:
    party_id = create_id()
    texts = ["x", "æ" * (LONG_TEXT + 7), 'a "quoted" text\n' * LONG_TEXT, "€" * LONG_TEXT, "y"]
    for text in texts:
        post_message(shared, partyId=party_id, message=text)
    listed = [shared.client.get(f"{build_path_by_party(party_id)}{query}").json() for query in ("", "?limit=10")]
    assert [[message["message"] for message in messages] for messages in listed] == [texts, texts]
    first = shared.client.get(f"{build_path_by_party(party_id)}?limit=4")
    assert [message["message"] for message in first.json()] == texts[:4]
    assert list_ids(shared.client.get(read_next_page(first))) == [listed[0][4]["id"]]
    for message in listed[0]:
        assert get_message(shared, message["id"]) == message
