"""Moderate mixed load on a service. Each call and response is recorded, so that lost data is detected.

Callers post web messages (some with a case in Open-E), publish events, read accepted data, and send syncs that change
nothing. They retry immediately after a failure. A publisher repeats an event with the same id until it is accepted, so
the events of a key are accepted in order.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from benchmarks.stage import Program, run_command
from budkavle.demo.subscriptions import CLIENT_CERT, FINGERPRINT

SYSTEMS = ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001")
EVENT_TYPE, MESSAGE_TYPE = 202, 203
ORG_TYPE, ORG_CODE = 1, 101
PATHS = ("/first/ok/0", "/second/ok/20")
"""The paths at which each system receives events of publishers: one responds at once, one after 20 milliseconds."""

MESSAGE_PATH = "/messages/ok/0"
"""The path at which the first system receives the events of web messages."""

OTHER_SUBSCRIPTIONS = 100
PARTY = "81471222-5798-11e9-ae24-57fa13b361e1"
KEYS = 12
ANSWER_SECONDS = 90
"""Timeout of a caller. No timeout of the service is longer, except that of a sync."""

RECENT = 500
"""Number of latest messages that are read through the API. At the end, all are checked in the database."""

MESSAGE, PUBLICATION, EVENT, SYNC, READ = "post", "publish", "event", "sync", "get"
KINDS = (MESSAGE, PUBLICATION, EVENT, SYNC, READ)
PACE = {MESSAGE: 1.0, PUBLICATION: 1.0, EVENT: 1.0, SYNC: 1.0, READ: 0.8}
"""Seconds between two calls of a caller.

The events of a key are delivered in order, which takes several turns of a worker each. On a busy machine, two events
per second and key can be too many.
"""

CALLERS = {MESSAGE: 8, PUBLICATION: 8, SYNC: 2, READ: 8}
"""Callers of each kind. There is one publisher of events per key."""


@dataclass(frozen=True)
class LoadCall:
    """One call, with times of `time.time`. `status` is 0 without a response."""

    kind: str
    began: float
    ended: float
    status: int
    detail: str = ""
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_unrecorded(self) -> bool:
        """Return whether Open-E has published the message but the database had not recorded it yet."""
        return self.kind == PUBLICATION and self.status in {500, 504} and "Do not send it again" in self.detail

    @property
    def is_documented_failure(self) -> bool:
        """Return whether the response states if the caller may retry."""
        return (self.status == 503 and self.retry_after is not None) or self.is_unrecorded


@dataclass
class Load:
    """The callers of one service, and the responses that they received."""

    service: Program
    publish_key: str
    chance: random.Random
    calls: list[LoadCall] = field(default_factory=list)
    messages: dict[str, float] = field(default_factory=dict)
    """When each web message was accepted, by id, including those with a case."""
    cases: dict[int, tuple[int, str]] = field(default_factory=dict)
    """The status of each message with a case, and its id after a 201."""
    events: dict[tuple[str, int], float] = field(default_factory=dict)
    """When each event was accepted, by key and sequence."""
    wrong: list[str] = field(default_factory=list)
    """Responses with a success status but wrong content."""
    _is_ending: bool = False
    _next_case: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> None:
        """Call until `stop`. Publishers then try once more to publish their pending events."""
        works: dict[str, Callable[[], Awaitable[None]]] = {
            MESSAGE: self._post,
            PUBLICATION: self._post_to_case,
            SYNC: self._sync,
            READ: self._read,
        }
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        session = aiohttp.ClientSession(self.service.url, timeout=timeout)
        async with session as self._session, asyncio.TaskGroup() as group:
            for kind, work in works.items():
                for _ in range(CALLERS[kind]):
                    group.create_task(self._repeat(kind, work))
            for number in range(KEYS):
                publisher = _Publisher(self, f"key-{number}")
                group.create_task(self._repeat(EVENT, publisher.publish))

    def stop(self) -> None:
        self._is_ending = True

    async def call(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str
    ) -> tuple[LoadCall, Mapping[str, str], bytes]:
        """Make and record one call. Return it with the headers and the body of the response."""
        began = time.time()
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            async with self._session.request(method, path, json=body, headers=request_headers) as response:
                content, status, response_headers = await response.read(), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError) as exc:
            call = LoadCall(kind, began, time.time(), 0, f"{type(exc).__name__}: {exc}")
            self.calls.append(call)
            return call, {}, b""
        detail = "" if status < 300 else content.decode(errors="replace")[:500]
        call = LoadCall(kind, began, time.time(), status, detail, response_headers.get("Retry-After"))
        self.calls.append(call)
        return call, response_headers, content

    async def _repeat(self, kind: str, work: Callable[[], Awaitable[None]]) -> None:
        # Start the callers at different moments.
        await asyncio.sleep(self.chance.uniform(0, PACE[kind]))
        while not self._is_ending:
            began = time.monotonic()
            await work()
            await asyncio.sleep(max(0.01, began + PACE[kind] - time.monotonic()))

    async def _post(self) -> None:
        body = {"partyId": PARTY, "message": "A message", "externalReferences": [{"key": "errand", "value": "1"}]}
        call, headers, _ = await self.call(MESSAGE, "POST", "/webmessages", body, apikey=self.service.key)
        if call.status == 201:
            self.messages[_read_id(headers)] = call.ended

    async def _post_to_case(self) -> None:
        case = next(self._next_case)
        references = [{"key": "flowInstanceId", "value": str(case)}]
        body = {"partyId": PARTY, "message": f"For case {case}", "externalReferences": references}
        call, headers, _ = await self.call(PUBLICATION, "POST", "/webmessages", body, apikey=self.service.key)
        id_ = _read_id(headers) if call.status == 201 else ""
        self.cases[case] = (call.status, id_)
        if id_:
            self.messages[id_] = call.ended

    async def _read(self) -> None:
        recent = list(itertools.islice(reversed(self.messages), RECENT))
        if recent:
            id_ = self.chance.choice(recent)
            call, _, content = await self.call(READ, "GET", f"/webmessages/{id_}", apikey=self.service.key)
            if call.is_success and json.loads(content)["id"] != id_:
                self.wrong.append(f"get of {id_} returned another message")

    async def _sync(self) -> None:
        body = set_of(SYSTEMS[0])
        call, _, content = await self.call(SYNC, "POST", "/v1/abonnement/sync", body, Client_Cert=CLIENT_CERT)
        if call.is_success and json.loads(content)["uaendret"] != len(body["abonnementer"]):
            self.wrong.append(f"an unchanged sync returned {content.decode()}")


class _Publisher:
    """Publishes the events of one key in order."""

    def __init__(self, load: Load, key: str) -> None:
        self._load = load
        self._key = key
        self._sequence = 0
        self._id = str(uuid4())

    async def publish(self) -> None:
        """Publish the next event, or repeat the one that was not accepted."""
        body = {
            "beskedId": self._id,
            "entityType": EVENT_TYPE,
            "orgType": ORG_TYPE,
            "orgCode": ORG_CODE,
            "aendringstype": 2,
            "identifikationstypeId": 99,
            "identifikation": self._key,
            "versionIdentifier": str(self._sequence),
        }
        call, _, content = await self._load.call(EVENT, "POST", "/v1/besked", body, apikey=self._load.publish_key)
        if not call.is_success:
            return
        if json.loads(content)["abonnementer"] != len(PATHS):
            self._load.wrong.append(f"an event goes elsewhere: {content.decode()}")
        self._load.events[self._key, self._sequence] = call.ended
        self._sequence, self._id = self._sequence + 1, str(uuid4())


def build_catalogue(receiver_url: str) -> str:
    """Return a catalogue of two systems at one receiver, in which web messages also raise events."""
    systems = "".join(
        f"  - systemIdentifier: {id_}\n    name: System {id_}\n    baseUrl: {receiver_url}\n"
        f'    allowPrivateAddresses: true\n    certificates: ["sha256:{FINGERPRINT}"]\n'
        for id_ in SYSTEMS
    )
    return f"""
systems:
{systems}
messageTypes:
  - {{entityType: {EVENT_TYPE}, name: Events of publishers}}
  - {{entityType: {MESSAGE_TYPE}, name: Web messages}}
allowedSubscriptions:
  - {{orgType: {ORG_TYPE}, entityType: {EVENT_TYPE}}}
  - {{orgType: {ORG_TYPE}, entityType: {MESSAGE_TYPE}}}
webMessageEvent: {{orgType: {ORG_TYPE}, orgCode: {ORG_CODE}, entityType: {MESSAGE_TYPE}}}
"""


def set_of(system: str) -> dict[str, Any]:
    """Return the body of a sync with the whole set of a system."""
    place = SYSTEMS.index(system)
    wanted = [(ORG_CODE, EVENT_TYPE, PATHS[place])]
    if place == 0:
        wanted.append((ORG_CODE, MESSAGE_TYPE, MESSAGE_PATH))
        wanted += [(ORG_CODE + number, EVENT_TYPE, "/others/ok/0") for number in range(1, OTHER_SUBSCRIPTIONS)]
    return {
        "systemIdentifier": system,
        "abonnementer": [
            {
                "orgType": ORG_TYPE,
                "orgCode": org_code,
                "entityType": entity_type,
                "webhookUrl": path,
                "startDato": "2023-01-01T00:00:00",
            }
            for org_code, entity_type, path in wanted
        ],
    }


def create_publish_key(service: Program) -> str:
    """Return a new API key for publishing events."""
    return run_command(["api-key", "create", "publisher", "--scope", "publish"], service.settings).strip()


def _read_id(headers: Mapping[str, str]) -> str:
    return headers["Location"].rpartition("/")[2]
