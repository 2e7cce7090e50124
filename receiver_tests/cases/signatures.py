"""Signatures: valid ones in every form, and forged deliveries, which must be rejected with 4xx."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from receiver_tests.deliveries import FORGED_FORMS, OTHER_SECRET_FORM, OTHER_VERSION, VALID, Delivery, SignatureForm
from receiver_tests.trial import Finding, ReceiverCase, Trial

FORGED_SECONDS = 660
"""Seconds of a timestamp that is too old or in the future: more than 5 minutes, with room for wrong clocks."""

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

ROTATIONS: dict[str, tuple[SignatureForm, ...]] = {
    "the valid signature first of two": (VALID, OTHER_SECRET_FORM),
    "the valid signature second of two": (OTHER_SECRET_FORM, VALID),
    "the valid signature after one of an unknown version": (OTHER_VERSION, VALID),
}

TIMESTAMPS: dict[str, str] = {
    "that is empty": "",
    "that is no number": "now",
    "that is a date": "2026-01-15T10:30:00Z",
    "that is a fraction": "1768469400.5",
    "that is negative": "-1768469400",
    "with 400 digits": "9" * 400,
}

BROKEN_BODIES: dict[str, bytes] = {
    "that is no JSON": b"{not json",
    "that is empty": b"",
    "that is not UTF-8": b'{"beskedId":"\xff\xfe"}',
    "that is a list": b"[]",
    "that is null": b"null",
    "with 50,000 nested lists": b"[" * 50_000 + b"]" * 50_000,
}


def _accept(what: str, forms: tuple[SignatureForm, ...]) -> Callable[[Trial], Awaitable[None]]:
    async def run(trial: Trial) -> None:
        await trial.expect_done(replace(trial.deliveries.create(), forms=forms), what)

    return run


def _reject(what: str, change: Callable[[Delivery], Delivery]) -> Callable[[Trial], Awaitable[None]]:
    async def run(trial: Trial) -> None:
        await trial.expect_rejected(change(trial.deliveries.create()), what)

    return run


def _forge(name: str, change: Callable[[Delivery], Delivery], what: str | None = None) -> ReceiverCase:
    return ReceiverCase(name, _reject(what or f"a delivery with {name}", change), needs="--secret")


def _change_body(delivery: Delivery) -> Delivery:
    return replace(delivery, sent_body=delivery.body.replace(b'"aendringstype":1', b'"aendringstype":3'))


def _without(*names: str) -> Callable[[Delivery], Delivery]:
    return lambda delivery: replace(delivery, without=frozenset(names))


def _with_forms(*forms: SignatureForm) -> Callable[[Delivery], Delivery]:
    return lambda delivery: replace(delivery, forms=forms)


def _with_timestamp(text: str) -> Callable[[Delivery], Delivery]:
    return lambda delivery: replace(delivery, timestamp=text)


def _with_sent_body(body: bytes) -> Callable[[Delivery], Delivery]:
    return lambda delivery: replace(delivery, sent_body=body)


async def _verified_before_parsing(trial: Trial) -> None:
    """Send two forged deliveries, one of them no JSON: a receiver that verifies first gives both the same answer."""
    forged = replace(trial.deliveries.create(), forms=(OTHER_SECRET_FORM,))
    first = await trial.send(forged)
    second = await trial.send(replace(trial.deliveries.create(), forms=(OTHER_SECRET_FORM,), sent_body=b"{not json"))
    if first.status != second.status:
        raise Finding(
            "the signature must be verified before the body is parsed: a forged delivery is answered with "
            f"{first.status}, and with {second.status} if its body is no JSON"
        )


SIGNATURES = (
    *(
        ReceiverCase(name, _accept(f"a delivery with {name}", forms), needs="--secret")
        for name, forms in ROTATIONS.items()
    ),
    *(_forge(f"a signature {name}", _with_forms(form)) for name, form in FORGED_FORMS.items()),
    _forge("two forged signatures", _with_forms(OTHER_SECRET_FORM, FORGED_FORMS["that is empty"])),
    _forge("a changed body", _change_body),
    _forge("a byte after the body", lambda delivery: replace(delivery, sent_body=delivery.body + b" ")),
    _forge("another id", lambda delivery: replace(delivery, sent_id=f"{'0' * 8}{delivery.id[8:]}")),
    _forge("another timestamp", lambda delivery: replace(delivery, shift=1)),
    _forge("an old timestamp", lambda delivery: replace(delivery, offset=-FORGED_SECONDS)),
    _forge("a timestamp in the future", lambda delivery: replace(delivery, offset=FORGED_SECONDS)),
    *(_forge(f"a timestamp {name}", _with_timestamp(text)) for name, text in TIMESTAMPS.items()),
    _forge("no webhook-id", _without(_ID)),
    _forge("no webhook-timestamp", _without(_TIMESTAMP)),
    _forge("no webhook-signature", _without(_SIGNATURE)),
    _forge("none of these headers", _without(_ID, _TIMESTAMP, _SIGNATURE)),
    *(_forge(f"a changed body {name}", _with_sent_body(body)) for name, body in BROKEN_BODIES.items()),
    ReceiverCase("the signature is verified before the body is parsed", _verified_before_parsing, needs="--secret"),
)
