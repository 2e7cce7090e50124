"""The syntax of idempotency keys, and the fingerprint of a message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budkavle.ids import create_id
from domain.idempotency_keys import IdempotencyKey, build_first_id, compute_fingerprint, parse_key
from domain.web_messages import ExternalReference, OepInstance
from tests.factories import NOW, build_attachment, build_web_message

FILES = (build_attachment(b"a", "a.txt"), build_attachment(b"b", "b.txt"))
FULL = build_web_message(sender_user_id="joe", attachments=FILES)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("a", "a"),
        ('"a"', "a"),
        ('" a, b; "', " a, b; "),
        (r'"\""', '"'),
        (r'"\\"', "\\"),
        (r'"\\\"\\"', '\\"\\'),
        ("a=1", "a=1"),
    ],
)
def test_parse_key_returns_the_characters_of_the_key(header: str, key: str) -> None:
    assert parse_key(header) == key


def test_hash_depends_on_caller_operation_municipality_and_key() -> None:
    """Stored keys are found by their hash, so it must never change."""
    key = IdempotencyKey("ärendesystem", "createWebMessage", "k1", FULL)
    assert key.hash.hex() == "ceb932e7db4dff418eb976957423da5e"
    assert replace(key, message=build_web_message()).hash == key.hash
    others = [replace(key, **change) for change in ({"caller": "b"}, {"operation": "b"}, {"key": "b"})]
    others += [replace(key, message=replace(FULL, municipality_id=each)) for each in ("2281", "2260")]
    others += [IdempotencyKey("a", "b", "c", FULL), IdempotencyKey("ab", "", "c", FULL)]
    assert len({each.hash for each in [key, *others]}) == len(others) + 1


def test_first_id_is_between_the_ids_before_and_after_its_moment() -> None:
    before, created, after = datetime.now(UTC), create_id(), datetime.now(UTC) + timedelta(milliseconds=1)
    assert build_first_id(before) < created < build_first_id(after)
    assert build_first_id(NOW) == "019ca945-0a7b-0000-0000-000000000000"


def test_fingerprint_ignores_ids_and_times() -> None:
    same = replace(
        FULL,
        id=build_web_message().id,
        created=NOW + timedelta(days=1),
        attachments=tuple(replace(file, id=build_web_message().id, mime_type="x/y", data=None) for file in FILES),
    )
    assert compute_fingerprint(same) == compute_fingerprint(FULL)
    assert len(compute_fingerprint(FULL)) == 32


CHANGES: list[dict[str, Any]] = [
    {"party_id": None},
    {"message": "This is a message\n"},
    {"external_references": (ExternalReference("errandNumber", "A-2026-18"),)},
    {"external_references": (ExternalReference("errandNumbe", "rA-2026-17"),)},
    {"sender_user_id": None},
    {"sender_user_id": "null"},
    {"oep_instance": OepInstance.INTERNAL},
    {"attachments": FILES[::-1]},
    {"attachments": FILES[:1]},
    {"attachments": (FILES[0], replace(FILES[1], file_name="c.txt"))},
    {"attachments": (FILES[0], replace(FILES[1], sha256="0" * 64))},
]


def test_fingerprint_depends_on_everything_else() -> None:
    found = {compute_fingerprint(replace(FULL, **change)) for change in CHANGES}
    assert len(found | {compute_fingerprint(FULL)}) == len(CHANGES) + 1
