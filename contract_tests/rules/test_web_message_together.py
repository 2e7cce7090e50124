"""Concurrent creation and deletion of messages. These rules run last, because the order of their requests varies."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from contract_tests.api import Api, created_id
from contract_tests.links import next_page
from contract_tests.rules.answers import expect, expect_problem
from contract_tests.rules.messages import file, list_ids, reference, strip_generated
from contract_tests.rules.together import run_concurrently

pytestmark = pytest.mark.needs("sender")

AT_ONCE = 8
MANY = 110
"""More messages than a default page has: most frameworks limit it to at most 100."""


def test_concurrent_messages_are_stored_separately(api: Api) -> None:
    """A server that keeps request data in a shared object would mix up these requests."""
    party = api.unused_uuid()
    sent = [
        api.message(
            message=f"Message {number}",
            partyId=party,
            externalReferences=[reference("contract-check", f"{number} {party}")],
            sender={"userId": f"user{number}"},
            oepInstance=["internal", "external"][number % 2],
            attachments=[file(f"{number}".encode(), f"{number}.txt")],
        )
        for number in range(3 * AT_ONCE)
    ]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        ids = list(threads.map(api.create_message, sent))
    assert len(set(ids)) == len(ids), f"each message must have its own id, but got {ids}"
    for id_, message in zip(ids, sent, strict=True):
        found = strip_generated(api.read_message(id_))
        assert found == message, f"expected what was sent: {message}, but got {found}"


def test_concurrent_deletions_delete_once(api: Api) -> None:
    """One caller gets 204 for the deletion; for all others the message does not exist."""
    for _ in range(3):
        path = f"/webmessages/{api.create_message(api.message(attachments=[file()]))}"
        answers = run_concurrently(lambda path: api.call("DELETE", path), [path] * AT_ONCE)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [204, *[404] * (AT_ONCE - 1)], (
            f"of {AT_ONCE} concurrent deletions exactly one must succeed, but the statuses are {statuses}"
        )


def test_list_of_more_than_100_messages_is_complete(api: Api) -> None:
    """Nothing is missing or duplicated, even with equal milliseconds of creation, and no page is too short."""
    named = api.unused_uuid()
    about = reference("contract-check", named)
    sent = [api.message(message=str(number), partyId=named, externalReferences=[about]) for number in range(MANY)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        made = list(threads.map(api.create_message, sent))
    for path in (f"/webmessages/recipients/{named}", f"/webmessages/external-references/contract-check/{named}"):
        response = expect(api.call("GET", path), 200)
        ids = list_ids(response.json())
        assert sorted(ids) == sorted(made), (
            f"without a limit all {MANY} messages must be returned, but {path} has {len(ids)}"
        )
        assert next_page(response) is None, f"a complete list must have no Link, but it was {response.headers['Link']}"
        in_order = [(message["created"], message["id"]) for message in response.json()]
        assert in_order == sorted(in_order), f"expected the order of created and id, but got {in_order}"
        for limit, sizes in ((1000, [MANY]), (MANY - 1, [MANY - 1, 1])):
            pages = list(api.read_pages(f"{path}?limit={limit}"))
            found = [list_ids(page.json()) for page in pages]
            assert [len(page) for page in found] == sizes, (
                f"pages with limit {limit} must have {sizes} messages, but have {[len(page) for page in found]}"
            )
            assert [id_ for page in found for id_ in page] == ids, (
                f"pages with limit {limit} must contain the same list as a response without a limit"
            )
        first = expect(api.call("GET", f"{path}?limit=7"), 200)
        pages = [first, *api.read_pages(next_page(first) or "")]
        assert [id_ for page in pages for id_ in list_ids(page.json())] == ids, (
            "pages with limit 7 must contain the same list as a response without a limit"
        )


@pytest.mark.needs("accepts_keys")
def test_concurrent_requests_with_one_key_create_one_message(api: Api) -> None:
    key, about = api.create_message(api.message()), reference("contract-check", api.unused_uuid())
    message = api.message(externalReferences=[about])
    responses = run_concurrently(lambda _: api.post_message(message, headers={"Idempotency-Key": key}), range(AT_ONCE))
    created = {created_id(response) for response in responses if response.status_code != requests.codes.conflict}
    assert len(created) == 1, f"concurrent requests with one key must create one message, but created {sorted(created)}"
    found = list_ids(api.read_messages(about["key"], about["value"]))
    assert found == [*created], f"concurrent requests with one key must create one message, but there are {found}"
    for response in responses:
        if response.status_code == requests.codes.conflict:
            expect_problem(response, 409)
            assert response.headers.get("Retry-After", "").isdigit(), "a 409 must have Retry-After in seconds"
