"""Callers that publish messages and record each response in a model, while the service is killed and restarted.

With keys, a caller repeats a post with the same `Idempotency-Key` until its outcome is certain: a 2xx or 4xx, except
409. Without keys each message is posted once. Some messages have equal texts, files, senders or characters that Open-E
cannot show; some are deleted, also while they are in doubt.
"""

import asyncio
import random
import re
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from tests.publication_model import NO_ANSWER, Content, PublicationModel, build_body

CASES = 40
SENDER = "joe01doe"
TEXTS = ("Your case is decided.", "Two\nlines", "100 € 😀", "å\nä")
WITH_CARRIAGE_RETURNS = "Two\nlines"
INTERVAL_SECONDS = 0.3
"""Maximum interval of a caller between two posts."""

CALL_SECONDS = 30
LONGEST_RETRY_SECONDS = 1.0

_IN_DOUBT = re.compile(r"Whether message '([0-9a-f-]{36})' was published is unknown")


@dataclass
class Post:
    """A message to publish, with its key and the time before which it is not repeated."""

    content: Content
    key: str | None
    due: float = 0.0


@dataclass
class Callers:
    """Concurrent callers of one service. They wait while `is_up` is not set."""

    url: str
    api_key: str
    chance: random.Random
    with_keys: bool
    model: PublicationModel = field(default_factory=PublicationModel)
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    faults: list[str] = field(default_factory=list)
    recent: deque[Content] = field(default_factory=lambda: deque(maxlen=20))
    replayed: int = 0
    keys: int = 0
    pending: list[Post] = field(default_factory=list)
    is_ending: bool = False

    async def run(self, count: int) -> None:
        """Post with `count` callers until `is_ending`, and then until no post has to be repeated."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(self.url, timeout=timeout) as session:
            await asyncio.gather(*(self._call(session) for _ in range(count)))

    async def _call(self, session: aiohttp.ClientSession) -> None:
        while not self.is_ending or self.pending:
            await self.is_up.wait()
            post = self._choose_next_post()
            if post is not None:
                await self._post(session, post)
            # An interval between posts spreads them over the kills.
            await asyncio.sleep(self.chance.uniform(0, INTERVAL_SECONDS))

    def _choose_next_post(self) -> Post | None:
        now = time.monotonic()
        due = next((post for post in self.pending if post.due <= now), None)
        if due is not None:
            self.pending.remove(due)
            return due
        if self.is_ending:
            return None
        key = None
        if self.with_keys:
            self.keys += 1
            key = f"key-{self.keys}"
        return Post(self._create_content(), key)

    def _create_content(self) -> Content:
        chance = self.chance
        text = chance.choice(TEXTS) if chance.random() < 0.2 else f"Message {chance.getrandbits(64)}"
        file = f"å {chance.randrange(3)}.txt" if chance.random() < 0.2 else None
        content = Content(chance.randrange(1, CASES + 1), text, file, SENDER if chance.random() < 0.3 else None)
        self.recent.append(content)
        return content

    async def _post(self, session: aiohttp.ClientSession, post: Post) -> None:
        headers = {"apikey": self.api_key}
        if post.key is not None:
            headers["Idempotency-Key"] = f'"{post.key}"'
        recorded = self.model.begin(post.content, post.key)
        status, retry_after, detail = NO_ANSWER, 0.0, ""
        try:
            async with session.post("/webmessages", json=_build_body(post.content), headers=headers) as response:
                if response.status != HTTPStatus.CREATED:
                    detail = str((await response.json()).get("detail"))
                status, retry_after = response.status, float(response.headers.get("Retry-After", 0))
                location = response.headers.get("Location")
                self.replayed += response.headers.get("Idempotency-Replayed") == "true"
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        else:
            self.model.end(recorded, status, location)
            self._check_response(post, status, detail)
            await self._delete_some(session, post, location, detail)
        if post.key is not None and _must_repeat(status):
            post.due = time.monotonic() + min(retry_after, LONGEST_RETRY_SECONDS)
            self.pending.append(post)

    def _check_response(self, post: Post, status: int, detail: str) -> None:
        expected = {201, 404, 500, 503} | ({409} if post.key is not None else set())
        if status not in expected:
            self.faults.append(f"status {status} for {post}: {detail}")

    async def _delete_some(self, session: aiohttp.ClientSession, post: Post, location: str | None, detail: str) -> None:
        """Delete some readable messages, and without keys some that are in doubt."""
        in_doubt = _IN_DOUBT.search(detail)
        if location is None and in_doubt is not None and post.key is None:
            location = f"/webmessages/{in_doubt[1]}"
        if location is None or self.chance.random() > 0.05:
            return
        self.model.delete(location, post.content)
        try:
            async with session.delete(location, headers={"apikey": self.api_key}) as response:
                if response.status not in {204, 404, 503}:
                    self.faults.append(f"status {response.status} for the deletion of {location}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return


def _must_repeat(status: int) -> bool:
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return status in {NO_ANSWER, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS} or is_server_error


def _build_body(content: Content) -> dict[str, object]:
    if content.text == WITH_CARRIAGE_RETURNS:
        return build_body(content) | {"message": content.text.replace("\n", "\r\n")}
    return build_body(content)
