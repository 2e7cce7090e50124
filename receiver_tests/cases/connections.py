"""Connections: several deliveries at once, slow ones, other methods, TLS."""

import asyncio
from dataclasses import replace

from receiver_tests.deliveries import OTHER_SECRET_FORM, Delivery
from receiver_tests.sending import Sender
from receiver_tests.trial import Finding, NoAnswer, ReceiverCase, Trial, describe, is_done

TOGETHER = {False: 10, True: 50}
"""The number of deliveries at once in the quick and in the full profile."""
SLOW_SECONDS = 1.0
"""Seconds before a slow client reads the answer."""


async def _together(trial: Trial) -> None:
    deliveries = [trial.deliveries.create(body={"number": number}) for number in range(TOGETHER[trial.is_full])]
    answers = await asyncio.gather(*(trial.send(delivery) for delivery in deliveries))
    wrong = [answer for answer in answers if not is_done(answer)]
    if wrong:
        raise Finding(
            f"{len(wrong)} of {len(answers)} deliveries at once must be answered with 2xx: {describe(wrong[0])}"
        )
    for delivery in deliveries:
        await trial.expect_listed(delivery, "one of several deliveries at once")


async def _slow_body(trial: Trial) -> None:
    delivery = trial.deliveries.create(body={"text": "ø" * 5000})
    await trial.expect_done(replace(delivery, pieces=8), "a delivery whose body arrives in 8 pieces within a second")


async def _slow_reading(trial: Trial) -> None:
    delivery = trial.deliveries.create()
    trial.sent.append(delivery)
    try:
        reader, writer = await trial.sender.open_raw()
        try:
            writer.write(trial.sender.write_raw(delivery))
            await writer.drain()
            await asyncio.sleep(SLOW_SECONDS)
            async with asyncio.timeout(trial.sender.target.timeout):
                line = await reader.readline()
        finally:
            writer.transport.abort()
    except (OSError, ValueError) as exc:
        raise NoAnswer(f"no answer to a client that reads slowly ({type(exc).__name__})") from exc
    if line.split(b" ")[1:2] not in ([b"%d" % status] for status in range(200, 300)):
        raise Finding(f"a delivery of a client that reads slowly must be answered with 2xx: {line[:60]!r}")
    trial.accepted.append(delivery.id)
    await trial.expect_listed(delivery, "a delivery of a client that reads slowly")


async def _stalled(trial: Trial) -> None:
    """A request that does not end must not keep the receiver from others."""
    stalled = trial.deliveries.create(body={"text": "x" * 1000})
    try:
        _, writer = await trial.sender.open_raw()
    except OSError as exc:
        raise NoAnswer(f"no connection ({type(exc).__name__})") from exc
    try:
        writer.write(trial.sender.write_raw(stalled)[:-500])
        await writer.drain()
        await trial.expect_done(trial.deliveries.create(), "a delivery while another one arrives slowly")
    finally:
        writer.transport.abort()


async def _after_rejection(trial: Trial) -> None:
    """A receiver that answers without reading the body must close the connection."""
    async with Sender(trial.sender.target, keeps_connections=True) as sender:
        forged = replace(trial.deliveries.create(body={"text": "x" * 20_000}), forms=(OTHER_SECRET_FORM,))
        await trial.send(forged, sender)
        await trial.expect_done(
            trial.deliveries.create(),
            "a delivery on the connection of a rejected one (read its body, or close)",
            sender,
        )


async def _kept(trial: Trial) -> None:
    async with Sender(trial.sender.target, keeps_connections=True) as sender:
        for number in (1, 2, 3):
            await trial.expect_done(trial.deliveries.create(), f"delivery {number} of 3 on one connection", sender)


async def _other_method(trial: Trial, method: str) -> None:
    request = Delivery("", b"", method=method)
    trial.sent.append(request)
    # A closed connection is as good as any error.
    answer = await trial.sender.send(request)
    if answer.status is not None and answer.status < 400:
        raise Finding(f"{method} must not be answered with 2xx or 3xx: the answer is {answer.status}")


async def _get(trial: Trial) -> None:
    await _other_method(trial, "GET")


async def _head(trial: Trial) -> None:
    await _other_method(trial, "HEAD")


async def _without_certificate(trial: Trial) -> None:
    """The handshake or the answer must reject a client without certificate, if nothing else proves who it is."""
    async with Sender(trial.sender.target, with_certificate=False) as sender:
        delivery = trial.deliveries.create()
        trial.sent.append(delivery)
        answer = await sender.send(delivery)
    if answer.status is not None and not 400 <= answer.status < 500:
        raise Finding(f"a delivery without client certificate must be rejected: the answer is {answer.status}")


CONNECTIONS = (
    ReceiverCase("several deliveries at once", _together),
    ReceiverCase("several deliveries on one connection", _kept),
    ReceiverCase("a body that arrives slowly", _slow_body),
    ReceiverCase("a client that reads slowly", _slow_reading),
    ReceiverCase("a delivery while another one does not end", _stalled),
    ReceiverCase("a delivery after a rejected one on its connection", _after_rejection, needs="--secret"),
    ReceiverCase("GET", _get),
    ReceiverCase("HEAD", _head),
    ReceiverCase("no client certificate", _without_certificate, needs="--client-cert"),
)
