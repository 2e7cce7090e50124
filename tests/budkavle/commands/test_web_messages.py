"""`budkavle messages`: list, show and settle messages in doubt, with Open-E on a port of this machine."""

import json
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from budkavle.clock import now
from domain.audit import WEB_MESSAGES, AuditEntry
from domain.idempotency_keys import IdempotencyKey
from domain.publications import Case
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from mock_open_e import MockOpenE
from open_e.accounts import Account
from open_e.client import OpenEClient
from persistence import audit, idempotency_keys, publication_decisions, publications
from persistence import web_messages as stored
from persistence.database import Database
from persistence.tables import web_messages as messages_table
from persistence.work import short_write
from tests.budkavle.conftest import Invoke
from tests.databases import run_with_database
from tests.factories import build_attachment, build_web_message
from tests.terminals import run_on_terminal

LONGEST = timedelta(seconds=10 + 5 + 30)
"""The longest call with the default timeouts: the latest start, and both timeouts."""

AGES = [LONGEST + timedelta(seconds=51), LONGEST + timedelta(seconds=20), timedelta(seconds=1), timedelta(0)]
OLD = timedelta(minutes=5)
LONG_AGO = now() - OLD
"""One moment for a message and its copy on a case: Open-E shows minutes."""
KEY = IdempotencyKey("ärendesystem", "createWebMessage", "k1", build_web_message())


def to_case(text: str = "Hej", case: int = 7, **changes: Any) -> WebMessage:
    references = (ExternalReference("flowInstanceId", str(case)), ExternalReference("errand", "1"))
    return build_web_message(**{"message": text, "external_references": references, "created": None} | changes)


def store_unsettled_messages(database_url: str, ages: list[timedelta] = AGES) -> list[str]:
    """Store messages to cases of these ages, the last one with an unknown outcome, and a readable one.

    Return the ids of the unsettled ones.
    """
    messages = [
        to_case(case=number, oep_instance=OepInstance.INTERNAL if number == 2 else OepInstance.EXTERNAL)
        for number in range(1, len(ages) + 1)
    ]

    async def put(database: Database) -> None:
        for message, age in zip(messages, ages, strict=True):
            await stored.begin_sending(database, message, now() - age)
        await stored.mark_unknown(database, messages[-1].id)
        await stored.store(database, build_web_message())

    run_with_database(database_url, put)
    return [message.id for message in messages]


def put_in_doubt(
    database_url: str, message: WebMessage, sent: datetime = LONG_AGO, key: IdempotencyKey | None = None
) -> str:
    """Store a message whose response was lost, and return its id."""

    async def put(database: Database) -> None:
        await stored.begin_sending(database, message, sent, key)
        await stored.mark_unknown(database, message.id)

    run_with_database(database_url, put)
    return message.id


@short_write
def age_messages(connection: sa.Connection, age: timedelta) -> None:
    """Move the time at which all messages were sent into the past."""
    connection.execute(messages_table.update().values(sent=now() - age))


def publish_on(address: str, message: WebMessage) -> int:
    accounts = {OepInstance.EXTERNAL: Account(f"{address}/external/api/callback")}
    client = OpenEClient(accounts, connect_timeout=5, read_timeout=5, threads=1)
    number = client.add_message(message, added=LONG_AGO, request_id="r")
    client.close()
    return number


def find_message(database_url: str, message_id: str) -> WebMessage:
    found: WebMessage = run_with_database(database_url, lambda database: stored.get(database, message_id))
    return found


def list_audit(database_url: str) -> list[AuditEntry]:
    async def read(database: Database) -> list[AuditEntry]:
        return [each.entry for _, each in await audit.list_page(database, after=0, limit=100, chain=WEB_MESSAGES)]

    entries: list[AuditEntry] = run_with_database(database_url, read)
    return entries


def show(invoke: Invoke, database_url: str, message_id: str, *options: str) -> dict[str, Any]:
    result = invoke(database_url, "messages", "show", message_id, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    value: dict[str, Any] = json.loads(result.stdout)
    return value


@pytest.fixture
def settings(address: str) -> dict[str, str]:
    """Return settings with which a message that is absent can no longer arrive after a second."""
    return {
        "open_e_external_url": f"{address}/external/api/callback",
        "open_e_connect_timeout": "1",
        "open_e_read_timeout": "1",
        "settle_margin": "1",
    }


def assert_fails(result: Result, error: str) -> None:
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert error in result.stderr


def test_messages_list_prints_nothing_without_messages_in_doubt(database_url: str, invoke: Invoke) -> None:
    async def put(database: Database) -> None:
        await stored.begin_sending(database, to_case(), now())
        await stored.store(database, build_web_message())

    run_with_database(database_url, put)
    result = invoke(database_url, "messages", "list")
    assert (result.exit_code, result.output) == (0, "")


def test_messages_list_shows_messages_in_doubt(database_url: str, invoke: Invoke) -> None:
    ids = store_unsettled_messages(database_url)
    result = invoke(database_url, "messages", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row.pop("sent")[-6:] for row in rows] == ["+00:00"] * 3
    assert rows == [
        {"id": ids[0], "state": "sending", "oepInstance": "external", "flowInstanceId": 1},
        {"id": ids[1], "state": "sending", "oepInstance": "internal", "flowInstanceId": 2},
        {"id": ids[3], "state": "unknown", "oepInstance": "external", "flowInstanceId": 4},
    ]


def test_messages_list_names_the_caller_and_failed_read_backs(database_url: str, invoke: Invoke) -> None:
    put_in_doubt(database_url, to_case(), key=KEY)
    case, later = Case(OepInstance.EXTERNAL, 7), now() + timedelta(minutes=1)

    async def fail(database: Database) -> None:
        await publications.claim(database, case, now(), timedelta(seconds=1))
        await publications.record_failure(database, case, later)

    run_with_database(database_url, fail)
    row = json.loads(invoke(database_url, "messages", "list").stdout)
    assert row["caller"] == KEY.caller
    assert (row["failedReadBacks"], row["nextReadBack"]) == (1, later.isoformat(timespec="milliseconds"))


def test_messages_list_uses_the_configured_timeouts(database_url: str, invoke: Invoke) -> None:
    ids = store_unsettled_messages(database_url)
    result = invoke(database_url, "messages", "list", open_e_read_timeout="70")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [ids[0], ids[3]]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--state", "sending"), [0, 1]),
        (("--state", "unknown"), [3]),
        (("--state", "unknown", "--state", "sending"), [0, 1, 3]),
        (("--limit", "2"), [0, 1]),
        (("--state", "unknown", "--limit", "1"), [3]),
    ],
)
def test_messages_list_can_be_filtered(
    database_url: str, invoke: Invoke, arguments: tuple[str, ...], shown: list[int]
) -> None:
    ids = store_unsettled_messages(database_url)
    result = invoke(database_url, "messages", "list", *arguments)
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [ids[index] for index in shown]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--state", "stored"),
        ("list", "--limit", "0"),
        ("list", "--limit", "x"),
        ("show", "x"),
        ("settle",),
        ("settle", str(uuid.UUID(int=1))),
        ("settle", "--published"),
        ("settle", "--all", "--resend"),
        ("settle", "--all", str(uuid.UUID(int=1))),
        ("settle", str(uuid.UUID(int=1)), "--resend", "--open-e-id", "1"),
        ("settle", str(uuid.UUID(int=1)), "--published", "--open-e-id", "0"),
        ("settle", str(uuid.UUID(int=1)), "--published", "--open-e-id", str(2**63)),
    ],
)
def test_messages_refuses_unusable_arguments(database_url: str, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(database_url, "messages", *arguments).exit_code == 2


def test_messages_show_names_the_own_open_e_of_a_municipality(database_url: str, invoke: Invoke) -> None:
    message = to_case(municipality_id="2260", own_open_e="2260/external")
    put_in_doubt(database_url, message)
    shown = show(invoke, database_url, message.id)
    assert (shown["oepInstance"], shown["ownOpenE"]) == ("external", "2260/external")


def test_messages_show_prints_no_content_unless_asked(database_url: str, invoke: Invoke) -> None:
    message = to_case("en hemlighet", party_id=str(uuid.UUID(int=5)), sender_user_id="joe01doe")
    message = replace(message, attachments=(build_attachment(b"abc", file_name="hemlig.txt"),))
    put_in_doubt(database_url, message)
    shown = show(invoke, database_url, message.id)
    assert list(shown) == ["id", "state", "oepInstance", "flowInstanceId", "sent", "inDoubt"]
    assert (shown["state"], shown["inDoubt"]) == ("unknown", True)
    content = show(invoke, database_url, message.id, "--content")
    assert shown.items() <= content.items()
    assert (content["message"], content["senderUserId"]) == ("en hemlighet", "joe01doe")
    assert content["partyId"] == message.party_id
    assert content["externalReferences"][1] == {"key": "errand", "value": "1"}
    assert [(each["fileName"], each["size"]) for each in content["attachments"]] == [("hemlig.txt", 3)]


def test_messages_show_shows_a_published_message(database_url: str, invoke: Invoke) -> None:
    message_id = put_in_doubt(database_url, to_case())
    assert invoke(database_url, "messages", "settle", message_id, "--published", "--open-e-id", "12").exit_code == 0
    shown = show(invoke, database_url, message_id, "--content")
    assert (shown["state"], shown["inDoubt"], shown["openEMessageId"], shown["message"]) == (
        "published",
        False,
        12,
        "Hej",
    )


def test_messages_settle_published_makes_a_message_readable(database_url: str, invoke: Invoke) -> None:
    message_id = put_in_doubt(database_url, to_case(), key=KEY)
    result = invoke(
        database_url, "messages", "settle", message_id, "--published", "--open-e-id", "12", "--as", "Åsa Ek"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{message_id}: published; callers can read it now\n"
    assert find_message(database_url, message_id).created is not None
    # A repetition of the request gets the first answer.
    keyed = run_with_database(database_url, lambda database: idempotency_keys.find(database, KEY))
    assert (keyed.message_id, keyed.is_settled) == (message_id, True)
    (entry,) = list_audit(database_url)
    assert (entry.operation, entry.caller, entry.outcome) == ("messages settle", "Åsa Ek", "published")
    assert (entry.detail["messageId"], entry.detail["openEMessageId"]) == (message_id, 12)


def test_messages_settle_not_published_deletes_a_message_and_frees_its_key(database_url: str, invoke: Invoke) -> None:
    message_id = put_in_doubt(database_url, to_case(), key=KEY)
    result = invoke(database_url, "messages", "settle", message_id, "--not-published")
    assert (result.exit_code, result.stderr) == (0, "")
    assert run_with_database(database_url, lambda database: idempotency_keys.find(database, KEY)) is None
    (entry,) = list_audit(database_url)
    assert entry.outcome == "not_published"
    assert entry.caller not in {"", "-"}
    assert_fails(invoke(database_url, "messages", "show", message_id), "does not exist; if it was not published")
    listed = invoke(database_url, "audit", "list", "--system", "web-messages")
    assert json.loads(listed.stdout)["detail"]["messageId"] == message_id


DECISIONS = ["--published", "--not-published", "--resend"]


@pytest.mark.parametrize("decision", DECISIONS)
def test_messages_settle_refuses_messages_that_are_not_in_doubt(
    database_url: str, invoke: Invoke, decision: str, settings: dict[str, str]
) -> None:
    unknown, sending, published, plain = str(uuid.UUID(int=1)), to_case(), to_case(), build_web_message()

    async def put(database: Database) -> None:
        await stored.begin_sending(database, sending, now())
        await stored.begin_sending(database, published, now())
        await stored.mark_published(database, published, 12, now())
        await stored.store(database, plain)

    run_with_database(database_url, put)
    for message_id, error in {
        unknown: f"message '{unknown}' does not exist",
        sending.id: "is not in doubt: it is being sent, until 20",
        published.id: "is not in doubt: it is published, in Open-E as message 12",
        plain.id: "is not in doubt: it has no case, so it was not sent to Open-E",
    }.items():
        assert_fails(invoke(database_url, "messages", "settle", message_id, decision, **settings), error)
    assert list_audit(database_url) == []


def test_messages_settle_refuses_a_message_that_was_deleted(database_url: str, invoke: Invoke) -> None:
    message_id = put_in_doubt(database_url, to_case())
    assert invoke(database_url, "messages", "settle", message_id, "--published", "--open-e-id", "1").exit_code == 0
    run_with_database(database_url, lambda database: stored.delete(database, message_id))
    assert_fails(invoke(database_url, "messages", "settle", message_id, "--not-published"), "was deleted")


def test_messages_settle_refuses_an_open_e_id_that_another_message_has(database_url: str, invoke: Invoke) -> None:
    first, second = [put_in_doubt(database_url, to_case()) for _ in range(2)]
    result = invoke(database_url, "messages", "settle", first, "--published")
    assert_fails(result, f"Message '{second}', which is also in doubt, has the same text: name the messageID of Open-E")
    assert invoke(database_url, "messages", "settle", first, "--published", "--open-e-id", "12").exit_code == 0
    result = invoke(database_url, "messages", "settle", second, "--published", "--open-e-id", "12")
    assert_fails(result, f"Message '{first}' has the messageID 12 of Open-E")


def test_messages_settle_resend_sends_a_message_that_is_not_on_its_case(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str]
) -> None:
    message = to_case(
        "€ 😀", sender_user_id="joe01doe", attachments=(build_attachment(b"a" * 1_000_000, file_name="a.txt"),)
    )
    put_in_doubt(database_url, message, key=KEY)
    result = invoke(database_url, "messages", "settle", message.id, "--resend", **settings)
    assert result.exit_code == 0, result.output
    (sent,) = mock.messages
    assert (sent["message"], sent["flowInstanceID"]) == ("€ 😀", 7)
    assert [(file["filename"], file["size"]) for file in sent["attachments"]] == [("a.txt", 1_000_000)]
    assert (
        result.stdout
        == f"{message.id}: sent again; Open-E has it as message {sent['messageID']}, and callers can read it now\n"
    )
    assert find_message(database_url, message.id).message == "€ 😀"
    assert run_with_database(database_url, lambda database: idempotency_keys.find(database, KEY)).is_settled
    assert [entry.outcome for entry in list_audit(database_url)] == ["resent", "published"]


def test_messages_settle_resend_waits_until_the_message_can_no_longer_arrive(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str]
) -> None:
    message_id = put_in_doubt(database_url, to_case())
    before = now()
    result = invoke(database_url, "messages", "settle", message_id, "--resend", **settings | {"settle_margin": "3"})
    assert result.exit_code == 0, result.output
    assert "not on its case; it could still arrive until about 20" in result.stderr
    assert len(mock.messages) == 1
    assert now() - before >= timedelta(seconds=3)


def test_messages_settle_resend_does_not_send_a_message_on_its_case(
    database_url: str, invoke: Invoke, mock: MockOpenE, address: str, settings: dict[str, str]
) -> None:
    message = to_case()
    put_in_doubt(database_url, message)
    number = publish_on(address, message)
    result = invoke(database_url, "messages", "settle", message.id, "--resend", **settings)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{message.id}: not sent; Open-E has it as message {number}, ")
    assert len(mock.messages) == 1
    assert show(invoke, database_url, message.id)["openEMessageId"] == number
    assert [entry.outcome for entry in list_audit(database_url)] == ["found"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [("Http500", "Open-E answered 500"), ("Garbage", "not XML"), ("Reset", "Open-E did not answer")],
)
def test_messages_settle_resend_sends_nothing_if_open_e_cannot_be_asked(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str], fault: Any, error: str
) -> None:
    message_id = put_in_doubt(database_url, to_case())
    mock.fail(fault, times=None, operation="messageapi")
    result = invoke(database_url, "messages", "settle", message_id, "--resend", **settings)
    assert_fails(result, f"message '{message_id}' was not sent and is still in doubt")
    assert error in result.stderr
    assert mock.messages == []
    assert show(invoke, database_url, message_id)["failedReadBacks"] == 1


def test_messages_settle_resend_needs_the_address_of_open_e(database_url: str, invoke: Invoke) -> None:
    message_id = put_in_doubt(database_url, to_case())
    result = invoke(database_url, "messages", "settle", message_id, "--resend")
    assert_fails(
        result, "the external Open-E is not configured here: set BUDKAVLE_OPEN_E_EXTERNAL_URL as for the service"
    )
    result = invoke(database_url, "messages", "settle", "--all")
    assert (result.exit_code, result.stdout) == (1, "0 published, 0 not published, 1 still in doubt\n")
    assert "1 of 1 cases could not be read (external): The external Open-E is not configured" in result.stderr


@pytest.mark.parametrize(("open_e", "error"), [("2260/external", "OPEN_E_MUNICIPALITIES"), (None, "the partyId")])
def test_messages_settle_resend_needs_the_open_e_and_the_sender(
    database_url: str, invoke: Invoke, settings: dict[str, str], open_e: str | None, error: str
) -> None:
    message = to_case(municipality_id="2260", own_open_e=open_e, is_from_owner=True, sender_user_id=None)
    result = invoke(database_url, "messages", "settle", put_in_doubt(database_url, message), "--resend", **settings)
    assert_fails(result, error)


@pytest.mark.parametrize("fault", ["AcceptedAnswerLost", "Http500", "Reset"])
def test_messages_settle_resend_leaves_the_message_in_doubt_after_a_failure(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str], fault: Any
) -> None:
    message_id = put_in_doubt(database_url, to_case())
    mock.fail(fault, operation="addMessage")
    result = invoke(database_url, "messages", "settle", message_id, "--resend", **settings)
    assert_fails(result, f"message '{message_id}' is in doubt again")
    assert show(invoke, database_url, message_id)["state"] == "unknown"
    assert [entry.outcome for entry in list_audit(database_url)] == ["resent", "unknown"]
    # The next attempt finds it, or sends it when the first one can no longer arrive.
    if fault != "AcceptedAnswerLost":
        run_with_database(database_url, lambda database: database.write(age_messages, OLD))
    result = invoke(database_url, "messages", "settle", message_id, "--resend", **settings)
    assert result.exit_code == 0, result.output
    assert len(mock.messages) == 1


def test_messages_settle_all_asks_open_e_about_all_messages(
    database_url: str, invoke: Invoke, mock: MockOpenE, address: str, settings: dict[str, str]
) -> None:
    on_case, absent, new = to_case(case=1), to_case(case=2), to_case(case=3)
    for message in (on_case, absent):
        put_in_doubt(database_url, message)
    publish_on(address, on_case)
    settings = settings | {"settle_margin": "0"}
    result = invoke(database_url, "messages", "settle", "--all", **settings)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "1 published, 1 not published, 0 still in doubt\n"
    assert find_message(database_url, on_case.id).created is not None
    assert [entry.outcome for entry in list_audit(database_url)] == ["not_published", "asked"]
    result = invoke(database_url, "messages", "settle", "--all", **settings)
    assert (result.exit_code, result.stdout) == (0, "no message is in doubt\n")
    put_in_doubt(database_url, new, now())
    result = invoke(database_url, "messages", "settle", "--all", **settings)
    assert (result.exit_code, result.stdout) == (1, "0 published, 0 not published, 1 still in doubt\n")
    assert "may still arrive there; the service settles it" in result.stderr
    assert len(mock.messages) == 1


def test_messages_settle_all_fails_if_the_case_of_a_deleted_message_cannot_be_read(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str]
) -> None:
    message_id = put_in_doubt(database_url, to_case())
    entry = AuditEntry(WEB_MESSAGES, "change", now(), "deleteWebMessageById", "caller", "deleted_in_doubt", "1", {})
    run_with_database(database_url, lambda each: publication_decisions.delete_in_doubt(each, message_id, now(), entry))
    mock.fail("Http403", operation="messageapi")
    exit_codes = [invoke(database_url, "messages", "settle", "--all", **settings).exit_code for _ in range(2)]
    assert exit_codes == [1, 0]


def test_messages_settle_all_does_not_wait_for_backoffs_or_leases(
    database_url: str, invoke: Invoke, address: str, settings: dict[str, str]
) -> None:
    message = to_case()
    put_in_doubt(database_url, message)
    publish_on(address, message)
    case = Case(OepInstance.EXTERNAL, 7)

    async def claim(database: Database) -> None:
        await publications.claim(database, case, now(), timedelta(minutes=1))

    run_with_database(database_url, claim)
    result = invoke(database_url, "messages", "settle", "--all", **settings)
    assert (result.exit_code, result.stdout) == (0, "1 published, 0 not published, 0 still in doubt\n")


def test_messages_settle_all_shows_progress_on_a_terminal(sqlite_url: str, settings: dict[str, str]) -> None:
    for number in range(1, 4):
        put_in_doubt(sqlite_url, to_case(case=number))
    environment = {f"BUDKAVLE_{name.upper()}": value for name, value in (settings | {"settle_margin": "0"}).items()}
    screen = run_on_terminal(sqlite_url, "messages", "settle", "--all", is_redirected=True, **environment)
    assert (screen.exit_code, screen.redirected) == (0, "0 published, 3 not published, 0 still in doubt\n")
    assert "Cases read: 3 of 3" in screen.text


def test_messages_settle_all_stops_to_ask_an_open_e_that_does_not_answer(
    database_url: str, invoke: Invoke, mock: MockOpenE, settings: dict[str, str]
) -> None:
    for number in range(1, 25):
        put_in_doubt(database_url, to_case(case=number))
    mock.fail("Slow", times=None, seconds=2, operation="messageapi")
    result = invoke(database_url, "messages", "settle", "--all", **settings | {"settle_lease": "4.5"})
    assert (result.exit_code, result.stdout) == (1, "0 published, 0 not published, 24 still in doubt\n")
    first, second = result.stderr.splitlines()
    numbers = [int(line.split()[0]) for line in (first, second)]
    assert sum(numbers) == 24
    assert 8 <= numbers[0] <= 11
    assert first.endswith("of 24 cases could not be read (external): Open-E did not answer")
    assert second.endswith("(external): not asked, because this Open-E did not answer about others")


def test_operator_options_of_messages_settle_exclude_each_other(database_url: str, invoke: Invoke) -> None:
    """The last of several decisions would win otherwise."""
    message_id = put_in_doubt(database_url, to_case())
    for first, second in pairwise([*DECISIONS, DECISIONS[0]]):
        result = invoke(database_url, "messages", "settle", message_id, first, second)
        assert result.exit_code == 2, result.output
    assert list_audit(database_url) == []
