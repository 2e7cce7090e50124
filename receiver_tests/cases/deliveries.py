"""Valid deliveries: each kind of event, and every form of body that the contract allows."""

import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from domain.events import MAX_BODY_BYTES, NO_OBJECT, Event, is_too_large
from receiver_tests.deliveries import DeliveryFactory
from receiver_tests.trial import ReceiverCase, Trial

OBJECT = "81471222-5798-41e9-ae24-57fa13b361e1"
EXAMPLES = {False: 20, True: 400}
"""The number of generated deliveries in the quick and in the full profile."""

_WITH_ALL: dict[str, Any] = {
    "change": 2,
    "external_id": OBJECT,
    "version": "7",
    "identification_type": 2,
    "identification": "12345678",
    "body": {"navn": "Team Nord"},
}
KINDS: dict[str, dict[str, Any]] = {
    "an event with all properties": _WITH_ALL,
    "an event with the required properties only": {},
    "an updated object": {"change": 2, "external_id": OBJECT, "version": "N/A"},
    "a deleted object": {"change": 3, "external_id": OBJECT},
    "an event about no object": {"external_id": NO_OBJECT},
    "an event about an organisation": {"identification_type": 2, "identification": "12345678"},
    "an empty body": {"body": {}},
    "a test message": {"external_id": NO_OBJECT, "body": {"testbesked": True}},
}
"""The kinds of events by description, as properties."""

TEXTS = (
    "blåbærgrød på ø, æ å ÆØÅ",
    "e\u0301 and é",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "עברית العربية",
    "\u2028\u2029\ufeff\u200b\ufffd\uffff",
    '"\\/\b\f\n\r\t\u0001\u001f\u007f',
    "</script><!-- ' -- ; ${x} {{x}} %00 &amp;",
)
_UNICODE = {"texts": list(TEXTS), "": "an empty name", "__proto__": {"a": 1}, "ключ 键": "a name"}
_NUMBERS = {
    "numbers": [0, -1, 2**53 + 1, -(2**63), 2**64 - 1, 1e308, 5e-324, -0.0, 0.1, 1.0, math.pi],
    "others": [True, False, None, "", [], {}, [[]]],
}


def _nest(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def _of_size(size: int) -> dict[str, Any]:
    """Return a body of this many bytes as compact JSON: two of them for each character, and a few ASCII ones."""
    left = size - len(b'{"a":"","b":""}')
    return {"a": "ø" * (left // 2), "b": "x" * (left % 2)}


def _accepts(what: str, **properties: Any) -> Callable[[Trial], Awaitable[None]]:
    async def run(trial: Trial) -> None:
        await trial.expect_done(trial.deliveries.create(**properties), what)

    return run


async def _without_name(trial: Trial) -> None:
    body = trial.deliveries.write(trial.deliveries.create_event(), entity_name=None)
    await trial.expect_done(trial.deliveries.wrap(body), "a delivery without entitetNavn")


async def _with_trace(trial: Trial) -> None:
    headers = {
        "x-request-id": "4c1f2a44-2b0e-4b0a-8f6e-2d9a53c1a7b1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-unknown": "a header of a later version",
    }
    delivery = replace(trial.deliveries.create(), headers=headers)
    await trial.expect_done(delivery, "a delivery with the headers of a trace, and an unknown one")


async def _unknown_properties(trial: Trial) -> None:
    value = json.loads(trial.deliveries.write(trial.deliveries.create_event(**_WITH_ALL)))
    value |= {"nytFelt": "of a later version", "nyListe": [{"a": None}], "id": 7}
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    await trial.expect_done(trial.deliveries.wrap(body), "a delivery with unknown properties")


async def _examples(trial: Trial) -> None:
    target = trial.sender.target
    for name, example in target.examples.items():
        # A receiver may reject deliveries of organisations for which it has no subscription.
        value = example | {"orgType": target.org_type, "orgCode": target.org_code}
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        await trial.expect_done(trial.deliveries.wrap(body), f"the example {name!r} of the contract")


async def _other_json(trial: Trial) -> None:
    """Send equal JSON in other bytes: a receiver that verifies what it has parsed and written again rejects it."""
    value = json.loads(trial.deliveries.write(trial.deliveries.create_event(**_WITH_ALL | {"body": _UNICODE})))
    reordered = dict(reversed(value.items()))
    for text in (json.dumps(value, indent=2), json.dumps(reordered, separators=(" , ", " : ")).replace("/", "\\/")):
        body = f"\n\t{text}\r\n".encode()
        await trial.expect_done(
            trial.deliveries.wrap(body),
            "legal JSON with spaces, escapes and another order (verify the bytes as received)",
        )


async def _generated(trial: Trial) -> None:
    for _ in range(EXAMPLES[trial.is_full]):
        event = _generate(trial.deliveries)
        await trial.expect_done(trial.deliveries.wrap(trial.deliveries.write(event)), "a generated delivery")


def _generate(deliveries: DeliveryFactory) -> Event:
    random = deliveries.random
    properties: dict[str, Any] = {"change": random.choice((1, 2, 3))}
    if random.random() < 0.5:
        properties |= {"external_id": str(random.choice((OBJECT, NO_OBJECT)))}
    if random.random() < 0.5:
        properties |= {"version": random.choice(TEXTS).replace("\0", "")}
    if random.random() < 0.5:
        properties |= {
            "identification_type": random.randrange(2, 2**31),
            "identification": str(random.randrange(10**9)),
        }
    if random.random() < 0.8:
        body = {random.choice(TEXTS)[: random.randrange(1, 5)]: _generate_value(deliveries, 3) for _ in range(3)}
        properties |= {} if is_too_large(body) else {"body": body}
    return deliveries.create_event(**properties)


def _generate_value(deliveries: DeliveryFactory, levels: int) -> Any:
    random = deliveries.random
    kind = random.randrange(6 if levels else 4)
    if kind == 0:
        return random.choice(TEXTS) * random.randrange(4)
    if kind == 1:
        return random.choice((None, True, False))
    if kind == 2:
        return random.randrange(-(2**63), 2**63)
    if kind == 3:
        return random.uniform(-1e9, 1e9)
    values = [_generate_value(deliveries, levels - 1) for _ in range(random.randrange(4))]
    return values if kind == 4 else dict(zip(TEXTS, values, strict=False))


DELIVERIES = (
    *(ReceiverCase(what, _accepts(what, **properties)) for what, properties in KINDS.items()),
    ReceiverCase("a delivery without entitetNavn", _without_name),
    ReceiverCase("headers of a trace and an unknown header", _with_trace),
    ReceiverCase("unknown properties", _unknown_properties),
    ReceiverCase("an unknown type of event", _accepts("an event of an unknown type", entity_type=2_147_483_646)),
    ReceiverCase("the largest body", _accepts("an event with a body of 64 KiB", body=_of_size(MAX_BODY_BYTES))),
    ReceiverCase("unusual Unicode", _accepts("an event with unusual Unicode", body=_UNICODE)),
    ReceiverCase("unusual numbers", _accepts("an event with unusual numbers and values", body=_NUMBERS)),
    ReceiverCase("nested JSON", _accepts("an event with 50 levels of nested JSON", body=_nest(25))),
    ReceiverCase("JSON in other bytes", _other_json, needs="--secret"),
    ReceiverCase("the examples of the contract", _examples),
    ReceiverCase("generated deliveries", _generated),
)
