"""Trouble of the mock Open-E at random: faults of calls and of the messageapi, conditions, messages of others."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from tests.publication_model import Content, PublicationModel

CALLBACK_FAULTS = (
    ("AcceptedAnswerLost", 0.0),
    ("Slow", 0.05),
    ("Slow", 4.0),
    ("Reset", 0.0),
    ("Http500", 0.0),
    ("Garbage", 0.0),
    ("TruncatedXml", 0.0),
    ("NoDetail", 0.0),
    ("FlowInstanceNotFound", 0.0),
)
READING_FAULTS = (
    ("Http403", 0.0),
    ("Http404", 0.0),
    ("Http500", 0.0),
    ("Garbage", 0.0),
    ("TruncatedXml", 0.0),
    ("AcceptedAnswerLost", 0.0),
    ("Slow", 10.0),
)
"""Names with seconds."""

ZONES = (None, "Europe/Stockholm")
LATEST_SECONDS = 1.5
"""Maximum seconds after which the messageapi returns a message. It must be below the margin of the service."""

INTERVAL_SECONDS = 0.6


class Trouble:
    """Orders faults of one mock until it is stopped. `recent` returns contents that callers posted lately."""

    def __init__(
        self, url: str, chance: random.Random, model: PublicationModel, recent: Callable[[], Sequence[Content]]
    ) -> None:
        self._url = url
        self._chance = chance
        self._model = model
        self._recent = recent
        self.planted = 0

    async def run(self, stopped: asyncio.Event) -> None:
        """Make trouble until `stopped`, then remove all of it."""
        async with aiohttp.ClientSession(self._url) as session:
            while not stopped.is_set():
                await self._make_some(session)
                # An interval between orders, so that calls also succeed.
                await asyncio.sleep(self._chance.uniform(0, INTERVAL_SECONDS))
            await _send(session, "DELETE", "/control/faults")
            await _send(session, "PUT", "/control/conditions/external", {})

    async def _make_some(self, session: aiohttp.ClientSession) -> None:
        chance = self._chance
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                fault, seconds = chance.choice(CALLBACK_FAULTS)
                order = {"fault": fault, "seconds": seconds, "times": chance.randrange(1, 5), "operation": "addMessage"}
                await _send(session, "POST", "/control/faults", order)
            case 4 | 5:
                fault, seconds = chance.choice(READING_FAULTS)
                order = {"fault": fault, "seconds": seconds, "times": chance.randrange(1, 4), "operation": "messageapi"}
                await _send(session, "POST", "/control/faults", order)
            case 6:
                # The messageapi fails altogether for a while.
                fault = chance.choice(("Http403", "Http500"))
                await _send(
                    session, "POST", "/control/faults", {"fault": fault, "times": None, "operation": "messageapi"}
                )
                await asyncio.sleep(chance.uniform(0, 5))
                await _send(session, "DELETE", "/control/faults")
            case 7:
                conditions = {
                    "clockSeconds": chance.uniform(-300, 300),
                    "timeZone": chance.choice(ZONES),
                    "staleSeconds": chance.uniform(0, LATEST_SECONDS),
                    "takenIds": chance.randrange(4),
                }
                await _send(session, "PUT", "/control/conditions/external", conditions)
            case _:
                await self._plant(session)

    async def _plant(self, session: aiohttp.ClientSession) -> None:
        """Plant a message that resembles one of a caller, and rarely one that equals it."""
        recent = self._recent()
        if not recent:
            return
        chance, content = self._chance, self._chance.choice(recent)
        body: dict[str, Any] = {"message": content.text, "kind": "manager"}
        match chance.randrange(12):
            case 0:
                self._model.plant_equal(content._replace(file=None))
                self.planted += 1
                if content.sender is not None:
                    body["userID"] = content.sender
            case 1 | 2 | 3:
                body |= {"kind": "owner"}
            case 4 | 5 | 6:
                body |= {"message": f"{content.text} "}
            case 7 | 8 | 9:
                body |= {"attachments": [{"filename": "other.txt", "base64Data": "YQ=="}]}
            case _:
                body |= {"added": "2026-01-01T00:00:00Z"}
        await _send(session, "POST", f"/control/cases/external/{content.case}/messages", body)


async def _send(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body)
    async with session.request(method, path, data=data) as response:
        if response.status not in {200, 201, 204}:
            raise RuntimeError(f"the mock rejected {method} {path}: {await response.text()}")
