"""Run the receivers of the guide, with deliveries that are signed as the worker signs them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from delivery.signing import build_signature_headers
from tests.webhook_receivers import KEY, RECEIVERS, read_inbox, running_receiver

OTHER_KEY = bytes(32)
ID = "7f1c6c1e-0b6f-4f0c-9a63-0e4f1d2b3c4d"
BODY = '{"beskedId":"…"}'.encode()


@pytest.fixture(params=RECEIVERS)
def receiver(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a receiver; it stores deliveries in `inbox` below `tmp_path`."""
    with running_receiver(request.param, tmp_path, monkeypatch) as url:
        yield url


def post(url: str, headers: dict[str, str], body: bytes = BODY) -> int:
    return httpx.post(
        f"{url}/star/webhook", headers=headers, content=body, trust_env=False, verify=False, timeout=30
    ).status_code


def test_receiver_stores_a_delivery_once_for_either_signature(receiver: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert post(receiver, build_signature_headers(ID, now, BODY, [KEY])) == 204
    # The second attempt, while the secret is being changed.
    assert post(receiver, build_signature_headers(ID, now + timedelta(seconds=1), BODY, [OTHER_KEY, KEY])) == 204
    assert read_inbox(tmp_path) == {f"{ID}.json": BODY}


def test_receiver_rejects_unauthentic_deliveries(receiver: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    good = build_signature_headers(ID, now, BODY, [KEY])
    rejected = {
        "another key": build_signature_headers(ID, now, BODY, [OTHER_KEY]),
        "no signature": build_signature_headers(ID, now, BODY, []),
        "an old time": build_signature_headers(ID, now - timedelta(minutes=6), BODY, [KEY]),
        "a time ahead": build_signature_headers(ID, now + timedelta(minutes=6), BODY, [KEY]),
        "another time": {**good, "webhook-timestamp": str(int(now.timestamp()) + 1)},
        "another id": {**good, "webhook-id": ID.replace("7", "8")},
        "an id that is a path": build_signature_headers("../" + "a" * 33, now, BODY, [KEY]),
        "another version": {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        "no base64": {**good, "webhook-signature": "v1,?"},
        "nothing": {},
    }
    assert {name: post(receiver, headers) for name, headers in rejected.items()} == dict.fromkeys(rejected, 401)
    assert post(receiver, good, BODY + b" ") == 401
    assert read_inbox(tmp_path) == {}


def test_receiver_limits_the_body(receiver: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    largest = b'"%s"' % (b"x" * (128 * 1024 - 2))
    assert post(receiver, build_signature_headers(ID, now, largest, [KEY]), largest) == 204
    larger = largest + b" "
    assert post(receiver, build_signature_headers(ID, now, larger, [KEY]), larger) == 413
    assert read_inbox(tmp_path) == {f"{ID}.json": largest}
