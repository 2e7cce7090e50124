"""At-least-once and order: the same delivery again, and deliveries of one key."""

import asyncio
from dataclasses import replace

from receiver_tests.cases.deliveries import OBJECT
from receiver_tests.trial import RETRIED, Finding, ReceiverCase, Trial, describe, is_done


async def _again(trial: Trial) -> None:
    delivery = trial.deliveries.create()
    await trial.expect_done(delivery, "a delivery")
    # A retry has a later timestamp, and so another signature.
    await trial.expect_done(replace(delivery, offset=1), "the same delivery again, in a later attempt")


async def _same_request(trial: Trial) -> None:
    delivery = trial.deliveries.create()
    for what in ("a delivery", "the same delivery again, a moment later", "the same delivery for the third time"):
        await trial.expect_done(delivery, what)


async def _at_once(trial: Trial) -> None:
    delivery = trial.deliveries.create()
    answers = await asyncio.gather(*(trial.send(delivery) for _ in range(3)))
    wrong = [answer for answer in answers if not is_done(answer) and answer.status not in RETRIED]
    if wrong:
        raise Finding(f"the same delivery three times at once: {describe(wrong[0])}")
    await trial.expect_done(delivery, "the same delivery again after three at once")


async def _one_event_two_subscriptions(trial: Trial) -> None:
    first = trial.deliveries.create()
    await trial.expect_done(first, "a delivery")
    second = trial.deliveries.wrap(first.body)
    await trial.expect_done(second, "a delivery of the same event for another subscription (another webhook-id)")


async def _after_forgery(trial: Trial) -> None:
    """A forged request must not make the receiver drop the real delivery as a duplicate."""
    delivery = trial.deliveries.create()
    await trial.expect_rejected(replace(delivery, sent_body=delivery.body + b" "), "a delivery with a changed body")
    await trial.expect_done(delivery, "the real delivery after a forged one with its id")


async def _order(trial: Trial) -> None:
    events = [
        trial.deliveries.create_event(change=change, external_id=OBJECT, version=str(change)) for change in (1, 2, 3)
    ]
    sent = [trial.deliveries.wrap(trial.deliveries.write(event)) for event in events]
    for number, delivery in enumerate(sent, 1):
        await trial.expect_done(delivery, f"delivery {number} of 3 about one object")
    if trial.looks:
        ids = [delivery.id for delivery in sent]
        done = [entry.get("id") for entry in await trial.list_done()]
        if [id_ for id_ in done if id_ in ids] != ids:
            raise Finding(f"deliveries about one object must be done in order: {trial.sender.target.look} has another")


REPETITIONS = (
    ReceiverCase("the same delivery again", _again),
    ReceiverCase("the same request again", _same_request),
    ReceiverCase("the same delivery three times at once", _at_once),
    ReceiverCase("one event for two subscriptions", _one_event_two_subscriptions),
    ReceiverCase("the real delivery after a forged one", _after_forgery, needs="--secret"),
    ReceiverCase("deliveries about one object in order", _order),
)
