"""The audit: an entry's hash covers all of its content."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audit import FIRST_HASH, AuditEntry, hash_entry, truncate_time, write_detail
from tests.factories import NOW

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def build_audit_entry(**changes: Any) -> AuditEntry:
    values = {
        "chain": "-",
        "kind": "call",
        "time": NOW,
        "operation": "syncWebhookAbonnementer",
        "caller": "-",
        "outcome": "refused",
        "request_id": "r-1",
    }
    return AuditEntry(**(values | changes))


def test_hash_entry_is_stable() -> None:
    """Stored chains were built with this hash."""
    found = hash_entry(build_audit_entry(), '{"status":401}', 1, FIRST_HASH)
    assert found == "fd85ae799d20fa592c2bbc9abb6081775e6821c6dc51a2bca86964e7a40fb4c9"


@given(st.lists(st.text(), min_size=7, max_size=7), st.integers(1, 2**63))
def test_hash_entry_equals_the_hash_of_json(texts: list[str], number: int) -> None:
    """Stored chains were built with `json.dumps`, so any text must be escaped as it escapes it."""
    chain, kind, operation, caller, outcome, request_id, detail = texts
    entry = AuditEntry(chain, kind, NOW, operation, caller, outcome, request_id)
    time = NOW.isoformat(timespec="microseconds")
    values = [FIRST_HASH, chain, number, kind, time, operation, caller, outcome, request_id]
    text = f"{json.dumps(values, separators=(',', ':'))}\n{detail}"
    assert hash_entry(entry, detail, number, FIRST_HASH) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"chain": "catalogue"},
        {"kind": "change"},
        {"time": NOW + timedelta(milliseconds=1)},
        {"operation": "apply"},
        {"caller": "sha256:ab"},
        {"outcome": "failed"},
        {"request_id": "r-2"},
    ],
)
def test_hash_entry_depends_on_every_field(change: dict[str, Any]) -> None:
    assert hash_entry(build_audit_entry(**change), "{}", 1, FIRST_HASH) != hash_entry(
        build_audit_entry(), "{}", 1, FIRST_HASH
    )


@pytest.mark.parametrize("change", [{"detail": "[]"}, {"number": 2}, {"previous": "1" * 64}])
def test_hash_entry_depends_on_position_and_detail(change: dict[str, Any]) -> None:
    given_values = {"detail": "{}", "number": 1, "previous": FIRST_HASH}
    assert hash_entry(build_audit_entry(), **given_values) != hash_entry(build_audit_entry(), **(given_values | change))


def test_hash_entry_does_not_depend_on_the_time_zone() -> None:
    copenhagen = replace(build_audit_entry(), time=NOW.astimezone(timezone(timedelta(hours=1))))
    assert hash_entry(copenhagen, "{}", 1, FIRST_HASH) == hash_entry(build_audit_entry(), "{}", 1, FIRST_HASH)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_write_detail_is_stable_after_a_json_round_trip(detail: dict[str, Any]) -> None:
    text = write_detail(detail)
    assert text.isascii()
    assert "\n" not in text
    assert write_detail(json.loads(text)) == text
    assert write_detail(dict(reversed(detail.items()))) == text


def test_write_detail_refuses_values_that_are_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_detail({"a": float("nan")})


def test_stored_time_is_utc_in_milliseconds() -> None:
    moment = datetime(2026, 3, 1, 13, 0, 0, 123999, timezone(timedelta(hours=1)))
    assert truncate_time(moment) == datetime(2026, 3, 1, 12, 0, 0, 123000, UTC)
    assert truncate_time(moment).tzinfo is UTC


def test_write_detail_of_many_changes_equals_one_encoding() -> None:
    rows = [[7, number, "æ", "/path", None] for number in range(1234)]
    detail: dict[str, Any] = {"updated": [[row, row] for row in rows], "created": rows, "count": 1, "deleted": []}
    assert write_detail(detail) == json.dumps(detail, sort_keys=True, separators=(",", ":"))
