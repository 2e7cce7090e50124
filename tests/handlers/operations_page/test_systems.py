"""One system on the operations page: its lists, the replay of what is parked, and pauses."""

import re
from datetime import UTC, datetime

import pytest

from persistence import deliveries, delivery_pauses
from persistence.database import Database
from tests.handlers.operations_page.operations import ROOT, Page, put_stuck
from tests.persistence.catalogues import SYSTEM_IDS, queue_deliveries


def test_page_of_a_system_lists_what_is_stuck(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[0], 101))
    with page.signed_in("bo") as visitor:
        response = visitor.get(f"{ROOT}/systems/{SYSTEM_IDS[0]}")
        for delivery_id in (*stuck.parked, stuck.failing, stuck.blocked):
            assert f"{ROOT}/deliveries/{delivery_id}" in response.text
        # Nothing here changes anything for an operator who may only read.
        assert "<form" not in response.text.split("<h1")[1]
        assert f"{ROOT}/systems/{SYSTEM_IDS[0]}/pause" not in response.text
        for kind, delivery_id in (("parked", stuck.parked[0]), ("blocked", stuck.blocked), ("waiting", stuck.failing)):
            assert delivery_id in visitor.get(f"{ROOT}/systems/{SYSTEM_IDS[0]}/deliveries/{kind}").text
        assert visitor.get(f"{ROOT}/systems/{SYSTEM_IDS[0]}/deliveries/other").status_code == 404


@pytest.mark.parametrize("kind", ["parked", "waiting"])
def test_long_lists_have_pages(page: Page, kind: str) -> None:
    async def fill(database: Database) -> list[str]:
        system_id = SYSTEM_IDS[1 if kind == "parked" else 2]
        await put_stuck(database, system_id, 111 if kind == "parked" else 121)
        changes = {"state": "parked", "due": None} if kind == "parked" else {}
        await queue_deliveries(database, system_id, 120, **changes)
        list_all = deliveries.list_parked if kind == "parked" else deliveries.list_waiting
        first = 0 if kind == "parked" else None
        return [item.id for item in await list_all(database, system_id, first, 1000)]

    wanted = page.run(fill)
    found, path = [], f"{ROOT}/systems/{SYSTEM_IDS[1 if kind == 'parked' else 2]}/deliveries/{kind}"
    with page.signed_in("bo") as visitor:
        while path:
            text = visitor.get(path).text
            found += re.findall(rf'data-label="Delivery"><a href="{ROOT}/deliveries/([0-9a-f-]+)"', text)
            path = next(iter(re.findall(r'href="([^"]+)">Next page', text)), "")
    assert found == wanted
    assert len(found) > 100


def test_replay_of_a_system_replays_what_the_confirmation_counted(page: Page) -> None:
    system_id = SYSTEM_IDS[3]
    stuck = page.run(lambda database: put_stuck(database, system_id, 131))
    path = f"{ROOT}/systems/{system_id}/replay"
    with page.signed_in() as visitor:
        form = visitor.get(path)
        assert "2 parked deliveries of" in form.text
        page.run(lambda database: queue_deliveries(database, system_id, 1, state="parked", due=None))
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form.text.split("<h1")[1]))
        response = visitor.post(path, fields)
        assert "Replayed 2 deliveries" in visitor.read(response.headers["location"])
    left = page.run(lambda database: deliveries.list_parked(database, system_id, 0, 9))
    assert len(left) == 1
    assert left[0].id not in stuck.parked
    entry = page.list_entries(system_id)[0]
    assert (entry.operation, entry.caller, entry.detail) == ("deliveries replay", "anna", {"deliveries": 2})


def test_pause_and_resume_are_confirmed_and_recorded(page: Page) -> None:
    system_id = SYSTEM_IDS[4]
    stuck = page.run(lambda database: put_stuck(database, system_id, 141))
    path = f"{ROOT}/systems/{system_id}"

    async def list_pauses(database: Database) -> list[delivery_pauses.DeliveryPause]:
        return await delivery_pauses.list_pauses(database, datetime.now(UTC), system_id)

    with page.signed_in() as visitor:
        assert "will be held back" in visitor.read(f"{path}/pause")
        assert "are paused until an operator resumes them" in visitor.confirm(f"{path}/pause", duration="")
        subscription = f"{path}/pause?subscription=1/141/202"
        assert "Paused subscription 1/141/202 of" in visitor.confirm(subscription, duration="4h")
        whole, part = sorted(page.run(list_pauses), key=lambda each: each.identity is not None)
        assert (whole.operator, whole.until, part.until is not None) == ("anna", None, True)
        assert "Deliveries of this system are paused" in visitor.read(f"{ROOT}/deliveries/{stuck.failing}")
        assert "the whole system" in visitor.read(ROOT)
        text = visitor.confirm(f"{path}/resume")
        assert "This remains: Deliveries of subscription 1/141/202 are paused until" in text
        visitor.confirm(f"{path}/resume?subscription=1/141/202")
        assert page.run(list_pauses) == []
        assert visitor.get(f"{path}/resume").status_code == 404
    entries = [(entry.operation, entry.caller) for entry in page.list_entries(system_id)]
    assert entries[:4] == [("deliveries resume", "anna")] * 2 + [("deliveries pause", "anna")] * 2


@pytest.mark.parametrize(
    "subscription", ["1", "1/2", "1/2/3/4", "a/b/c", "1/2/99999999999", "--1/2/3", "1/2/\u0663", "1/2/3%00"]
)
def test_pause_refuses_other_texts_than_a_subscription(page: Page, subscription: str) -> None:
    with page.signed_in() as visitor:
        response = visitor.get(f"{ROOT}/systems/{SYSTEM_IDS[0]}/pause", params={"subscription": subscription})
        assert response.status_code == 400


@pytest.mark.parametrize("after", ["x", "-1", "1.2.3", "9" * 19, "1" * 18 + ".1", "\u0663", ".", "1."])
def test_lists_refuse_other_positions(page: Page, after: str) -> None:
    with page.signed_in() as visitor:
        for kind in ("parked", "waiting"):
            path = f"{ROOT}/systems/{SYSTEM_IDS[0]}/deliveries/{kind}"
            assert visitor.get(path, params={"after": after}).status_code == 404
