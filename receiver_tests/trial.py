"""One case of a check: its requests, and the expectations about the answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import ClientError

from domain.deliveries import Reason
from receiver_tests.deliveries import Delivery, DeliveryFactory
from receiver_tests.sending import Answer, Sender
from receiver_tests.target import QUICK_SECONDS, ReceiverTarget

RETRIED = {408, 425, 429, *range(500, 600)}
"""The statuses after which a delivery is sent again later. Source: spec/deliveries.yaml."""

LOOK_SECONDS = 2.0
"""Maximum seconds until a delivery is in the list of the receiver, which may do its work after the answer."""
_LOOK_INTERVAL = 0.1


class Finding(Exception):
    """The receiver breaks the contract. The text names the expectation and the observation."""


class NoAnswer(Finding):
    """The receiver did not answer."""


class LookFailed(Exception):
    """The list of the receiver cannot be read."""


@dataclass(frozen=True)
class ReceiverCase:
    """A case. `needs` is the option without which it is left out; `of_full` marks one of the full profile only."""

    name: str
    run: Callable[["Trial"], Awaitable[None]]
    needs: Literal["--secret", "--client-cert"] | None = None
    of_full: bool = False


class Trial:
    """A run of one case. `sent` has its requests, `accepted` the ids of those that the receiver answered with 2xx."""

    def __init__(self, sender: Sender, deliveries: DeliveryFactory, *, is_full: bool) -> None:
        self.sender = sender
        self.deliveries = deliveries
        self.is_full = is_full
        self.sent: list[Delivery] = []
        self.accepted: list[str] = []
        self.looks = sender.target.look is not None

    async def send(self, delivery: Delivery, sender: Sender | None = None) -> Answer:
        """Send a request. Raises NoAnswer if there is none in time."""
        self.sent.append(delivery)
        answer = await (sender or self.sender).send(delivery)
        if answer.status is None:
            detail = f": {answer.detail}" if answer.detail else ""
            if answer.reason is Reason.TIMEOUT:
                detail += f" (a receiver has {self.sender.target.timeout:g} s: store the delivery, answer, then work)"
            detail += _explain_lack_of_answer(answer.reason, self.sender.target)
            raise NoAnswer(f"no answer after {answer.seconds:.1f} s ({answer.reason}{detail})")
        if 200 <= answer.status < 300 and delivery.method == "POST":
            self.accepted.append(delivery.sent_id or delivery.id)
        return answer

    async def expect_done(self, delivery: Delivery, what: str, sender: Sender | None = None) -> None:
        """Send a valid delivery. Raises Finding unless the answer is 2xx, and the list has it once, if there is one."""
        answer = await self.send(delivery, sender)
        if not is_done(answer):
            reason = _explain_refusal(answer.status, self.sender.target)
            raise Finding(f"{what} must be answered with 2xx: {describe(answer)}{reason}")
        await self.expect_listed(delivery, what)

    async def expect_rejected(self, delivery: Delivery, what: str) -> None:
        """Send a forged delivery. Raises Finding unless the answer is 4xx, at once, and the list does not have it."""
        answer = await self.send(delivery)
        if is_done(answer):
            raise Finding(f"{what} must be rejected with 4xx: the receiver accepted it ({answer.status})")
        if answer.status is None or not 400 <= answer.status < 500 or answer.status in RETRIED:
            raise Finding(f"{what} must be rejected with 4xx: {describe(answer)}")
        if answer.seconds > QUICK_SECONDS:
            raise Finding(f"{what} must be rejected within {QUICK_SECONDS:g} s: it took {answer.seconds:.1f} s")
        sent_id = delivery.sent_id or delivery.id
        if self.looks and sent_id not in self.accepted and await self._find_listed(sent_id):
            raise Finding(f"{what} was rejected with {answer.status}, but the receiver has done it")

    async def expect_listed(self, delivery: Delivery, what: str) -> None:
        """Raise Finding unless the list, if there is one, has the delivery once, with the body that was sent."""
        if not self.looks:
            return
        found = await self._wait_until_listed(delivery)
        if len(found) != 1:
            hint = ""
            if not found and await self._find_listed(json.loads(delivery.body).get("beskedId", "")):
                hint = ", but its beskedId: the list must have the webhook-id"
            raise Finding(f"{what} must be done once: {self.sender.target.look} has it {len(found)} times{hint}")
        digest = found[0].get("sha256")
        if digest is not None and digest != sha256(delivery.body).hexdigest():
            raise Finding(
                f"{what} must be kept as it was sent: {self.sender.target.look} has another sha256 of the body"
            )

    async def list_done(self) -> list[dict[str, Any]]:
        """Return the list of the receiver: the deliveries that it has done, in order. Raises LookFailed."""
        try:
            entries = json.loads(await self.sender.look())
        except (ClientError, OSError, ValueError, RecursionError) as exc:
            raise LookFailed(f"{self.sender.target.look} cannot be read: {exc}") from exc
        if not isinstance(entries, list):
            raise LookFailed(f"{self.sender.target.look} must return a JSON list of ids, or of objects with an id")
        return [entry if isinstance(entry, dict) else {"id": entry} for entry in entries]

    async def _find_listed(self, delivery_id: str) -> list[dict[str, Any]]:
        return [entry for entry in await self.list_done() if entry.get("id") == delivery_id]

    async def _wait_until_listed(self, delivery: Delivery) -> list[dict[str, Any]]:
        """Return the entries of a delivery. If it was sent more than once, wait a moment for a second one."""
        for _ in range(int(LOOK_SECONDS / _LOOK_INTERVAL)):
            if await self._find_listed(delivery.id):
                break
            await asyncio.sleep(_LOOK_INTERVAL)
        if sum(sent.id == delivery.id for sent in self.sent) > 1:
            await asyncio.sleep(2 * _LOOK_INTERVAL)
        return await self._find_listed(delivery.id)


def is_done(answer: Answer) -> bool:
    return answer.status is not None and 200 <= answer.status < 300


def describe(answer: Answer) -> str:
    """Return the status of an answer and its consequence for the delivery."""
    status = answer.status
    text = f' "{answer.text}"' if answer.text else ""
    if status is not None and 300 <= status < 400:
        return f"the answer is {status}{text}, and redirects are not followed: the delivery is parked"
    if status in RETRIED:
        return f"the answer is {status}{text}, so the delivery is sent again and again"
    return f"the answer is {status}{text}, so the delivery is parked"


def _explain_refusal(status: int | None, target: ReceiverTarget) -> str:
    """Return a likely reason why a valid delivery was answered with this status, or an empty text."""
    if status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ""
    if target.key is None:
        return "; it is not signed, since --secret is not given"
    return "; the signature of the sent bytes is valid"


def _explain_lack_of_answer(reason: Reason | None, target: ReceiverTarget) -> str:
    """Return the option that may be missing, or an empty text."""
    if reason is Reason.TLS and target.ca is None:
        return "; --ca names the CA of the receiver, if it is not a public one"
    if reason in {Reason.TLS, Reason.LOST} and target.is_tls and target.certificate is None:
        return "; --client-cert presents a certificate, if the receiver requires one"
    return ""
