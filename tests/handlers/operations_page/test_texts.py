"""The words of the operations page: every reason and state has some, and each delay is explained by its cause."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.deliveries import DeliveryState, NotReplayed, Obstacle, QueuedDelivery, Reason, Target
from domain.delivery_pauses import DeliveryPause
from domain.subscriptions import Identity
from domain.web_messages import MessageState
from handlers.operations_page import texts
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM

SECOND = timedelta(seconds=1)
ITEM = QueuedDelivery(
    number=1,
    id="id",
    event_id="event",
    system_id=SYSTEM,
    org_type=1,
    org_code=101,
    entity_type=202,
    webhook_url="/a",
    state=DeliveryState.WAITING,
    attempts=0,
    created=NOW,
    due=NOW,
    is_held=False,
    reason=None,
    status=None,
)
PAUSE = DeliveryPause(SYSTEM, None, NOW, None, "anna")
OTHER_PAUSE = DeliveryPause(SYSTEM, Identity(1, 999, 202), NOW, None, "anna")
FAILS = (Target(SYSTEM, "/a"), NOW + 60 * SECOND)
OTHER_FAILS = (Target(SYSTEM, "/b"), NOW + 60 * SECOND)


def test_each_reason_and_state_is_explained() -> None:
    assert set(texts.REASONS) == set(Reason)
    assert set(texts.STATES) == set(MessageState)
    assert all(texts.explain_not_replayed(NotReplayed("id", each, until=NOW, blocked_by="x")) for each in Obstacle)


@pytest.mark.parametrize(
    ("changes", "pauses", "back_offs", "word"),
    [
        ({"state": DeliveryState.PARKED, "due": None}, [PAUSE], [FAILS], "parked"),
        ({"is_held": True, "due": NOW + SECOND}, [PAUSE], [], "under way"),
        ({"blocked_by": "other", "due": None}, [PAUSE], [FAILS], "blocked"),
        ({}, [PAUSE], [FAILS], "paused"),
        ({"attempts": 2, "due": NOW + SECOND}, [OTHER_PAUSE], [FAILS], "backing off"),
        ({"attempts": 2, "due": NOW + SECOND}, [], [OTHER_FAILS], "waiting"),
        ({"due": NOW + SECOND}, [], [], "waiting"),
        ({"due": NOW - 60 * SECOND}, [], [], "due"),
        ({"due": NOW - 61 * SECOND}, [], [], "overdue"),
        ({"due": None}, [], [], "waiting"),
        # The worker that had claimed it died.
        ({"is_held": True, "due": NOW - 61 * SECOND}, [], [], "overdue"),
    ],
)
def test_explain_delivery_names_the_most_specific_cause(
    changes: dict[str, Any], pauses: list[DeliveryPause], back_offs: list[tuple[Target, datetime]], word: str
) -> None:
    found = texts.explain_delivery(dataclasses.replace(ITEM, **changes), pauses, back_offs, NOW)
    assert found.word == word
    assert all(sentence.endswith(".") for sentence in found.sentences)
    assert found.blocked_by == changes.get("blocked_by")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (7199, "1 hour"), (172_800, "2 days")],
)
def test_describe_age_uses_the_largest_unit(seconds: int, text: str) -> None:
    assert texts.describe_age(NOW, NOW - seconds * SECOND) == text


def test_count_uses_the_number_of_the_noun() -> None:
    assert texts.count(1, "delivery", "deliveries") == "1 delivery"
    assert texts.count(2000, "delivery", "deliveries") == "2,000 deliveries"
    assert (texts.describe_status(404), texts.describe_status(799)) == ("404 Not Found", "799")


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("/operations", True),
        ("/operations/search?id=a%20b&x=1", True),
        ("/operationsx", False),
        ("//operations", False),
        ("/operations/\\evil", False),
        ("/operations?a#b", False),
        ("https://evil.example/operations", False),
        ("/operations/" + "a" * 500, False),
    ],
)
def test_sign_in_leads_to_own_pages_only(address: str, is_own: bool) -> None:
    assert texts.is_next(address) is is_own
