"""Syncs with the maximum number of entries, and with more."""

import json
import threading
from functools import cache

import pytest

from domain.subscriptions import MAX_SUBSCRIPTIONS
from tests.handlers.callers import Caller, build_entry, read_errors

# These errors do not depend on the database, and `test_subscriptions_errors.py` has such errors with each kind.
with_one_database = pytest.mark.parametrize("subscribing", ["sqlite"], indirect=True, scope="module")


@with_one_database
def test_all_errors_of_50000_entries_are_reported_while_others_are_served(caller: Caller) -> None:
    body = json.dumps(caller.body(*[{}, 1] * (MAX_SUBSCRIPTIONS // 2), systemIdentifier="x")).encode()
    responses = []
    sending = threading.Thread(target=lambda: responses.append(caller.send_bytes(body)))
    sending.start()
    served = 0
    while sending.is_alive():
        assert caller.service.client.get("/health/live").status_code == 200
        served += 1
        sending.join(0.05)

    assert served > 3
    found = read_errors(responses[0], 400)
    assert (found[0]["index"], found[0]["field"]) == (None, "systemIdentifier")
    assert len(found) == 1 + (5 + 1) * MAX_SUBSCRIPTIONS // 2
    assert {error["index"] for error in found[1:]} == set(range(MAX_SUBSCRIPTIONS))


@with_one_database
def test_more_than_50000_entries_are_one_error_without_further_checks(caller: Caller) -> None:
    entries = [build_entry(orgCode=number) for number in range(MAX_SUBSCRIPTIONS)]
    (error,) = read_errors(caller.send(caller.body(*entries, 1, 2, {})), 400)
    assert (error["index"], error["field"], error["errorCode"]) == (None, "abonnementer", 1014)


def test_sync_accepts_50000_entries_and_returns_them(caller: Caller) -> None:
    entries = [build_entry(orgCode=number, webhookUrl=f"/{number}") for number in range(MAX_SUBSCRIPTIONS)]
    assert caller.sync(*entries) == (MAX_SUBSCRIPTIONS, 0, 0, 0, 0)
    assert caller.sync(*caller.current()) == (0, 0, 0, MAX_SUBSCRIPTIONS, 0)


@with_one_database
def test_entry_with_many_unknown_properties_has_a_short_report(caller: Caller) -> None:
    many = {f"x{number}": 0 for number in range(20_000)}
    assert len(read_errors(caller.send(caller.body(build_entry() | many)), 400)) == 10
    entry = json.dumps(build_entry()).removesuffix("}")
    body = json.dumps(caller.body()).replace("[]", f"[{entry}, {_build_members(1_000_000)}}}]")
    (error,) = read_errors(caller.send_bytes(body.encode()), 400)
    assert error["message"] == (
        "Request validerer ikke: body må højst indeholde 250000 objekter og lister, og højst 25000 værdier mellem to "
        "objekters slutning"
    )


@cache
def _build_members(count: int) -> str:
    """Return members of a JSON object with different names."""
    return ", ".join(f'"x{number}": 0' for number in range(count))
