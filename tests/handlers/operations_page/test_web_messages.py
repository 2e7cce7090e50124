"""Messages in doubt on the operations page, and the decision of an operator."""

import re
from datetime import timedelta

import pytest

from domain.audit import WEB_MESSAGES
from domain.publications import Case
from persistence import publications
from persistence.database import Database
from tests.factories import NOW
from tests.handlers.operations_page.operations import ROOT, Page
from tests.persistence.publication_steps import send, to_case

HOUR = timedelta(hours=1)


@pytest.fixture
def message_id(page: Page) -> str:
    """Return the id of a message in doubt."""

    async def put(database: Database) -> str:
        return (await send(database, to_case("Hej hej"))).id

    return page.run(put)


def test_settle_as_published_makes_the_message_readable(page: Page, message_id: str) -> None:
    path = f"{ROOT}/messages/{message_id}"
    with page.signed_in() as visitor:
        assert message_id in visitor.get(f"{ROOT}/messages").text
        assert "in doubt" in visitor.read(path)
        assert "Settled 1 message" in visitor.confirm(f"{path}/settle/published", open_e_id="4711")
        assert "messageID in Open-E 4711" in visitor.read(path)
        # There is nothing left to decide.
        assert visitor.get(f"{path}/settle/published").status_code == 409
        assert message_id not in visitor.get(f"{ROOT}/messages").text
    entry = page.list_entries(WEB_MESSAGES)[0]
    assert (entry.operation, entry.caller, entry.outcome) == ("messages settle", "anna", "published")
    assert entry.detail["openEMessageId"] == 4711


def test_settle_as_not_published_deletes_the_message(page: Page, message_id: str) -> None:
    path = f"{ROOT}/messages/{message_id}"
    with page.signed_in() as visitor:
        assert "Be certain." in visitor.read(f"{path}/settle/not-published")
        assert "is deleted here" in visitor.confirm(f"{path}/settle/not-published")
        assert visitor.get(path).status_code == 404
    entry = page.list_entries(WEB_MESSAGES)[0]
    assert (entry.operation, entry.caller, entry.outcome) == ("messages settle", "anna", "not_published")


def test_settle_of_a_message_that_was_settled_meanwhile_changes_nothing(page: Page, message_id: str) -> None:
    path = f"{ROOT}/messages/{message_id}/settle/not-published"
    with page.signed_in() as visitor:
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', visitor.get(path).text))
        visitor.confirm(path.replace("not-published", "published"), open_e_id="4712")
        response = visitor.post(path, fields)
        assert "Nothing was changed The message is not in doubt any more" in visitor.read(response.headers["location"])


def test_pages_name_the_open_e_of_a_municipality_that_has_its_own(page: Page) -> None:
    case = Case("2260/external", 2068)

    async def put(database: Database) -> str:
        own = {"municipality_id": "2260", "own_open_e": case.open_e}
        message = await send(database, to_case(case=case.flow_instance_id, **own))
        await publications.claim(database, case, NOW, HOUR)
        await publications.record_failure(database, case, NOW + HOUR)
        return message.id

    message_id = page.run(put)
    path = f"{ROOT}/messages/{message_id}"
    with page.signed_in() as visitor:
        assert "1 case with messages in doubt could not be read, in the Open-E 2260/external." in visitor.read(ROOT)
        assert "2068, 2260/external" in visitor.read(f"{ROOT}/messages")
        assert "Case 2068 in the 2260/external Open-E" in visitor.read(path)
        assert "Look at case 2068 in the 2260/external Open-E" in visitor.read(f"{path}/settle/not-published")
        visitor.confirm(f"{path}/settle/not-published")
        assert "2260/external" not in visitor.read(ROOT)


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 19, "9" * 30, "\u0663", "1.5"])
def test_settle_refuses_other_numbers_than_ids_of_open_e(page: Page, message_id: str, number: str) -> None:
    path = f"{ROOT}/messages/{message_id}/settle/published"
    with page.signed_in() as visitor:
        token = visitor.get(path).text.split('name="token" value="')[1].split('"')[0]
        assert visitor.post(path, {"token": token, "open_e_id": number}).status_code == 400
        assert visitor.get(f"{ROOT}/messages/{message_id}/settle/other").status_code == 404
