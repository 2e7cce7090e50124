"""Signatures, verified with the package of the standard."""

import base64
import re
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from delivery.signing import NotASecret, build_signature_headers, read_secret
from tests.delivery.receiving import Recorder, build_base_url, build_claimed_delivery, build_event, build_receiver, send
from tests.processes import REPOSITORY

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2, 3))
MOMENT = datetime(2026, 3, 1, 12, 0, 59, 999999, tzinfo=UTC)


def test_reference_shows_a_signed_request():
    page = (REPOSITORY / "docs" / "reference" / "wire-forms.md").read_text()
    (request,) = re.findall(r"```http\nPOST .*?\n(.*?)\n```", page, re.DOTALL)
    head, body = request.split("\n\n")
    shown = dict(line.split(": ", 1) for line in head.splitlines())
    (secret,) = re.findall(r"`(whsec_\S+)`\.", page)
    moment = datetime.fromtimestamp(int(shown["webhook-timestamp"]), UTC)
    headers = build_signature_headers(shown["webhook-id"], moment, body.encode(), [read_secret(secret)])
    assert headers.items() <= shown.items()


def test_signature_headers_follow_the_standard():
    """The example in the text of the standard."""
    headers = build_signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
        [read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_signature_headers_contain_a_signature_per_key_in_order():
    keys = [read_secret(each) for each in (NEW, OLD)]
    alone = [build_signature_headers("id", MOMENT, b"{}", [key])["webhook-signature"] for key in keys]
    assert build_signature_headers("id", MOMENT, b"{}", keys)["webhook-signature"] == " ".join(alone)
    assert alone[0] != alone[1]


def test_signature_headers_are_empty_without_keys():
    assert build_signature_headers("id", MOMENT, b"{}", []) == {"webhook-id": "id", "webhook-timestamp": "1772366459"}


@pytest.mark.parametrize("text", ["whsec_AQID", "AQID", " whsec_AQID\n", "AQID\r\n"])
def test_read_secret_accepts_both_forms(text):
    assert read_secret(text) == b"\1\2\3"


def test_read_secret_accepts_base64_without_padding():
    assert read_secret("whsec_AQIDBA") == b"\1\2\3\4"


@pytest.mark.parametrize(
    "text", ["", "whsec_", "  ", "whsec_AQI*", "whsec_A", "hemmelig nøgle", "whsec_whsec_AQID", "AQ=ID"]
)
def test_read_secret_rejects_other_values_without_repeating_them(text):
    with pytest.raises(NotASecret) as caught:
        read_secret(text)
    assert str(caught.value) == ""
    assert caught.value.__cause__ is None


def verify_signature(recorder, secret, index=-1):
    return Webhook(secret).verify(recorder.requests[index][1], recorder.headers(index))


def test_rotated_secrets_are_both_verified_until_the_old_one_is_removed(run, peer, monkeypatch):
    recorder = Recorder()
    url = build_base_url(peer(recorder))
    monkeypatch.setenv("OLD_SECRET", OLD)
    monkeypatch.setenv("NEW_SECRET", NEW)
    the_event = build_event(body={"tekst": "Rødgrød"})
    before, during, after = (
        build_claimed_delivery(build_receiver(url, webhook_secrets=secrets), the_event)
        for secrets in (("env:OLD_SECRET",), ("env:NEW_SECRET", "env:OLD_SECRET"), ("env:NEW_SECRET",))
    )
    # The package of the standard rejects times that differ by more than five minutes.
    assert len(run(send(before, during, after, now=datetime.now(UTC)))) == 3
    assert verify_signature(recorder, OLD, 0)["body"] == {"tekst": "Rødgrød"}
    assert (
        verify_signature(recorder, OLD, 1) == verify_signature(recorder, NEW, 1) == verify_signature(recorder, NEW, 2)
    )
    for secret, index in ((NEW, 0), (OLD, 2), (OTHER, 1)):
        with pytest.raises(WebhookVerificationError):
            verify_signature(recorder, secret, index)


def test_attempts_of_a_delivery_share_its_id_and_have_their_own_times(run, peer):
    recorder = Recorder()
    delivery = build_claimed_delivery(build_base_url(peer(recorder)))
    run(send(delivery, now=MOMENT))
    run(send(delivery, now=datetime(2026, 3, 2, tzinfo=UTC)))
    first, second = recorder.headers(0), recorder.headers(1)
    assert first["webhook-id"] == second["webhook-id"] == delivery.id
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1772366459", "1772409600")
    assert "webhook-signature" not in first
