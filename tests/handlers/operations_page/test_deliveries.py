"""One delivery on the operations page: why it has not arrived, and its replay."""

from uuid import uuid4

import pytest

from domain.audit import SIGNING
from persistence import deliveries
from persistence.database import Database
from persistence.queue import claims
from persistence.tables import chains
from persistence.work import short_write
from tests.handlers.operations_page.operations import ROOT, Page, put_stuck
from tests.persistence.catalogues import SYSTEM_IDS
from tests.persistence.queues import build_action, build_lease, build_settled, claim


def test_page_of_a_delivery_explains_why_it_has_not_arrived(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[0], 101))
    with page.signed_in() as visitor:
        parked = visitor.read(f"{ROOT}/deliveries/{stuck.parked[0]}")
        assert "The receiver rejected it, so it is not sent again until an operator replays it." in parked
        assert "The receiver answered 404 Not Found." in parked
        assert "<b>closed</b> & gone" in parked
        failing = visitor.read(f"{ROOT}/deliveries/{stuck.failing.upper()}")
        assert "Its last attempt failed. The next attempt is at" in failing
        assert "503 Service Unavailable" in failing
        blocked = visitor.read(f"{ROOT}/deliveries/{stuck.blocked}")
        assert "An earlier delivery of the same key has not arrived." in blocked
        assert f"Look at the earlier delivery {stuck.failing}" in blocked
        assert "The earlier one: The receiver answered 503 Service Unavailable." in blocked
        assert f'{ROOT}/deliveries/{stuck.failing}"' in visitor.get(f"{ROOT}/deliveries/{stuck.blocked}").text


def test_page_of_a_delivered_delivery_shows_its_receipt(page: Page) -> None:
    async def deliver(database: Database) -> str:
        stuck = await put_stuck(database, SYSTEM_IDS[1], 111)
        await deliveries.replay(database, [stuck.failing], build_action(SYSTEM_IDS[1]))
        [claimed] = await claim(database, of={SYSTEM_IDS[1]: 1})
        await claims.settle(database, build_lease(), [build_settled(claimed)])
        return claimed.id

    delivery_id = page.run(deliver)
    with page.signed_in("anna") as visitor:
        text = visitor.read(f"{ROOT}/deliveries/{delivery_id}")
        # A worker may deliver it while an operator reads the confirmation.
        path = f"{ROOT}/deliveries/{delivery_id}/replay"
        assert visitor.get(path).headers["location"] == f"{ROOT}/deliveries/{delivery_id}"
        token = visitor.get(ROOT).text.split('name="token" value="')[1].split('"')[0]
        result = visitor.read(visitor.post(path, {"token": token}).headers["location"])
        assert "The delivery has arrived meanwhile" in result
    assert "It has arrived The receiver answered 200 OK" in text
    assert "503 Service Unavailable" in text
    assert "after 2 attempts" in text


def test_replay_is_confirmed_and_recorded_with_the_name_of_the_operator(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[2], 121))
    path = f"{ROOT}/deliveries/{stuck.parked[0]}/replay"
    with page.signed_in() as visitor:
        assert "Replay 1 delivery? This delivery will be sent to" in visitor.read(path)
        assert "Replayed 1 delivery It will be sent now." in visitor.confirm(path)
        item = page.run(lambda database: deliveries.get(database, stuck.parked[0]))
        assert item.state == "waiting"
        entry = page.list_entries(SYSTEM_IDS[2])[0]
        assert (entry.operation, entry.caller, entry.detail) == ("deliveries replay", "anna", {"deliveries": 1})
        # The id of the request leads from the result to the entry.
        assert "deliveries replay" in visitor.read(f"{ROOT}/requests/{entry.request_id}")


def test_replay_of_a_blocked_delivery_changes_nothing_and_says_why(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[3], 131))
    before = len(page.list_entries(SYSTEM_IDS[3]))
    with page.signed_in() as visitor:
        text = visitor.confirm(f"{ROOT}/deliveries/{stuck.blocked}/replay")
    assert f"It is blocked by {stuck.failing}, an earlier delivery of the same key." in text
    assert len(page.list_entries(SYSTEM_IDS[3])) == before


@pytest.mark.parametrize("path", ["deliveries/{id}", "deliveries/{id}/replay", "events/{id}", "messages/{id}"])
def test_unknown_ids_are_not_found(page: Page, path: str) -> None:
    with page.signed_in() as visitor:
        for id_ in (str(uuid4()), "x", "%00", "%F0%9F%92%A9", "1" * 300):
            response = visitor.get(f"{ROOT}/{path.format(id=id_)}")
            assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(("path", "place"), [("deliveries/{delivery}/replay", 5), ("systems/{system}/replay", 6)])
def test_nothing_is_replayed_if_the_audit_cannot_record_it(page: Page, path: str, place: int) -> None:
    system_id, org_code = SYSTEM_IDS[place], 101 + 10 * place
    stuck = page.run(lambda database: put_stuck(database, system_id, org_code))
    address = f"{ROOT}/{path.format(delivery=stuck.parked[0], system=system_id)}"

    async def sign(database: Database) -> None:
        signing = {"name": SIGNING, "head": "", "length": 0}
        await database.write(short_write(lambda connection: connection.execute(chains.insert(), signing)))

    async def end_signing(database: Database) -> None:
        delete = chains.delete().where(chains.c.name == SIGNING)
        await database.write(short_write(lambda connection: connection.execute(delete)))

    with page.signed_in() as visitor:
        fields = visitor.read_form(address)
        page.run(sign)
        try:
            response = visitor.post(address, fields)
        finally:
            page.run(end_signing)
    assert (response.status_code, "set BUDKAVLE_AUDIT_KEY" in response.text) == (503, True)
    for delivery_id in stuck.parked:
        assert page.run(lambda database, id_=delivery_id: deliveries.get(database, id_)).state == "parked"
