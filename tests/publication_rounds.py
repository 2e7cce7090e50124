"""Rounds of random posts, faults of Open-E, crashes and settlers, whose outcome is compared with a model.

A round runs two processes of the service on one database and a mock Open-E on a port. Callers post with and without
keys, repeat posts, also at the same time, change their content and delete messages. Open-E fails in every way, its
messageapi too. Processes are killed with -9 at any moment: in particular when Open-E has received or stored a message
or is read back. Time is virtual, so that a round takes seconds.
"""

import asyncio
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import httpx

from domain.web_messages import UNSETTLED_STATES
from mock_open_e import FAULT_NAMES, Conditions, FaultName, Instance, MockOpenE, MockResponse
from mock_open_e.server.application import create_server
from openapi.server.serving import build_address, listen, run_loop
from persistence.opening import open_database
from persistence.web_messages import list_unsettled
from tests.factories import PARTY_ID
from tests.publication_model import NO_ANSWER, Content, Found, PublicationModel, build_body, count_contents
from tests.service_processes import KEY, ServiceProcess, SharedClock

if TYPE_CHECKING:
    import uvicorn

STEPS = 120
PROCESSES = 2
CALLERS = 8
CONNECT_SECONDS, READ_SECONDS, MARGIN_SECONDS = 1.0, 0.4, 20.0
LATEST_SECONDS = 15.0
"""Maximum virtual seconds until the messageapi returns a message. It must be below the margin."""

LAST_ADVANCES = 100
"""Advances of time at the end, each of `ADVANCE_SECONDS`, in which everything must be settled."""

ADVANCE_SECONDS = 10.0
IDLE_SECONDS = 0.5
"""Real seconds after which no settler has anything to do."""

CASES = (1, 2, 3)
TEXTS = ("Equal", "Two\nlines", "100 € 😀")
_IN_DOUBT = re.compile(r"Whether message '([0-9a-f-]{36})' was published is unknown")


class KillingMock(MockOpenE):
    """A mock at whose points a test can run something once, such as killing the process that calls."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._armed: tuple[str, Callable[[], None]] | None = None
        self._arming = threading.Lock()
        self._reads = threading.Semaphore(0)

    def arm(self, point: str, work: Callable[[], None]) -> None:
        """Run `work` at the next `point`: received, stored, reading or read."""
        with self._arming:
            self._armed = (point, work)

    def respond(
        self, instance: Instance, headers: Mapping[str, str], body: bytes | bytearray = b"", **options: Any
    ) -> MockResponse:
        self._reach("received")
        response = super().respond(instance, headers, body, **options)
        self._reach("stored")
        return response

    def read_back(self, instance: Instance, headers: Mapping[str, str], path: str, **options: Any) -> MockResponse:
        self._reach("reading")
        response = super().read_back(instance, headers, path, **options)
        self._reads.release()
        self._reach("read")
        return response

    def wait_for_read(self, seconds: float) -> None:
        """Return when a case is read back from now on, or after some seconds without that."""
        while self._reads.acquire(blocking=False):
            pass
        self._reads.acquire(timeout=seconds)

    def _reach(self, point: str) -> None:
        with self._arming:
            if self._armed is None or self._armed[0] != point:
                return
            _, work = self._armed
            self._armed = None
        work()


POINTS = ("received", "stored", "reading", "read")


@dataclass(frozen=True)
class _Wish:
    """A message that a caller wants to publish, with its key."""

    content: Content
    key: str | None


class Round:
    """One round. `run` returns the violations that the model found."""

    def __init__(self, seed: str, database_url: str) -> None:
        self._chance = random.Random(seed)
        self._database_url = database_url
        self._clock = SharedClock()
        self._mock = KillingMock(clock=self._clock)
        self._model = PublicationModel()
        self._recording = threading.Lock()
        self._faults: list[str] = []
        self._wishes: list[_Wish] = []
        self._repeats: dict[_Wish, int] = {}
        self._posts: set[Future[None]] = set()

    def run(self, steps: int = STEPS) -> list[str]:
        """Run the round to its end, and return all violations."""
        with _running_mock(self._mock) as self._mock_url, ThreadPoolExecutor(CALLERS) as self._pool:
            settings = {
                "database_url": self._database_url,
                "open_e_external_url": f"{self._mock_url}/external/api/callback",
                "open_e_connect_timeout": CONNECT_SECONDS,
                "open_e_read_timeout": READ_SECONDS,
                "settle_interval": 0.05,
                "settle_margin": MARGIN_SECONDS,
            }
            self._processes = [ServiceProcess(self._clock, settings) for _ in range(PROCESSES)]
            try:
                for process in self._processes:
                    process.start()
                for _ in range(steps):
                    self._step()
                found = self._end()
            finally:
                for process in self._processes:
                    process.kill()
        return [*self._faults, *self._model.check(found)]

    def _step(self) -> None:
        chance = self._chance
        actions: dict[Callable[[], None], int] = {
            self._post_new: 30,
            self._post_again: 20,
            self._fail: 7,
            self._fail_reading: 6,
            self._change_conditions: 4,
            self._plant: 4,
            self._kill: 3,
            self._arm_kill: 5,
            self._advance: 6,
            self._wait_for_some: 8,
        }
        if not all(process.is_running for process in self._processes):
            actions[self._restart] = 30
        (action,) = chance.choices(list(actions), list(actions.values()))
        action()

    def _post_new(self) -> None:
        chance = self._chance
        text = chance.choice(TEXTS) if chance.random() < 0.5 else f"Message {chance.getrandbits(40)}"
        file = "å.txt" if chance.random() < 0.2 else None
        content = Content(chance.choice(CASES), text, file, "joe01doe" if chance.random() < 0.3 else None)
        wish = _Wish(content, f"key-{len(self._wishes)}" if chance.random() < 0.7 else None)
        self._wishes.append(wish)
        self._post(wish)

    def _post_again(self) -> None:
        """Repeat a post with a key, sometimes with another content or twice at once."""
        known = [wish for wish in self._wishes if wish.key is not None]
        if not known:
            return
        wish = self._chance.choice(known[-10:])
        if self._chance.random() < 0.2:
            wish = _Wish(wish.content._replace(text=f"{wish.content.text} changed"), wish.key)
            self._wishes.append(wish)
        for _ in range(self._chance.choice((1, 1, 2))):
            self._post(wish)

    def _post(self, wish: _Wish) -> None:
        process = self._chance.choice(self._processes)
        deletes = self._chance.random() < 0.1
        if process.is_running:
            self._posts = {post for post in self._posts if not post.done()}
            self._posts.add(self._pool.submit(self._call, process.url, wish, deletes=deletes))

    def _call(self, url: str, wish: _Wish, *, deletes: bool) -> int:
        headers = {"apikey": KEY} | ({} if wish.key is None else {"Idempotency-Key": f'"{wish.key}"'})
        with self._recording:
            recorded = self._model.begin(wish.content, wish.key)
        try:
            response = httpx.post(
                f"{url}/webmessages",
                json=build_body(wish.content),
                headers=headers,
                timeout=60,
                trust_env=False,
                verify=False,
            )
        except httpx.TransportError:
            return NO_ANSWER
        location = response.headers.get("Location")
        expected = {201, 404, 500, 503} | (set() if wish.key is None else {409, 422})
        with self._recording:
            self._model.end(recorded, response.status_code, location)
            if response.status_code not in expected:
                self._faults.append(f"status {response.status_code} for {wish}: {response.text}")
        if deletes:
            self._delete(url, wish, location, response)
        return response.status_code

    def _delete(self, url: str, wish: _Wish, location: str | None, response: httpx.Response) -> None:
        in_doubt = _IN_DOUBT.search(response.text)
        location = f"/webmessages/{in_doubt[1]}" if in_doubt else location
        if location is None:
            return
        with self._recording:
            self._model.delete(location, wish.content)
        try:
            deleted = httpx.delete(
                f"{url}{location}", headers={"apikey": KEY}, timeout=60, trust_env=False, verify=False
            )
        except httpx.TransportError:
            return
        if deleted.status_code not in {204, 404, 503}:
            self._faults.append(f"status {deleted.status_code} for the deletion of {location}: {deleted.text}")

    def _fail(self) -> None:
        fault: FaultName = self._chance.choice(FAULT_NAMES)
        seconds = self._chance.choice((0.0, READ_SECONDS * 2))
        self._mock.fail(fault, times=self._chance.randrange(1, 3), seconds=seconds, operation="addMessage")

    def _fail_reading(self) -> None:
        fault: FaultName = self._chance.choice(FAULT_NAMES)
        self._mock.fail(fault, times=self._chance.randrange(1, 4), seconds=0.3, operation="messageapi")

    def _change_conditions(self) -> None:
        chance = self._chance
        self._mock.set_conditions(
            Conditions(
                clock_seconds=chance.uniform(-300, 300),
                time_zone=chance.choice((None, "Europe/Stockholm")),
                stale_seconds=chance.uniform(0, LATEST_SECONDS),
                taken_ids=chance.randrange(4),
            )
        )

    def _plant(self) -> None:
        """Plant a message of another sender that resembles one of a caller, and rarely one that equals it."""
        if not self._wishes:
            return
        content = self._chance.choice(self._wishes[-10:]).content
        match self._chance.randrange(8):
            case 0:
                with self._recording:
                    self._model.plant_equal(content._replace(file=None))
                self._mock.plant(content.case, content.text, kind="manager", user_id=content.sender)
            case 1 | 2:
                self._mock.plant(content.case, content.text, kind="owner")
            case 3 | 4:
                self._mock.plant(content.case, f"{content.text} ", kind="manager")
            case 5 | 6:
                self._mock.plant(content.case, content.text, kind="manager", files=[("other.txt", b"x")])
            case _:
                self._mock.plant(content.case, content.text, kind="manager", added="2026-01-01T00:00:00Z")

    def _kill(self) -> None:
        self._chance.choice(self._processes).kill()

    def _arm_kill(self) -> None:
        killed = self._chance.choice((*([each] for each in self._processes), self._processes))
        self._mock.arm(self._chance.choice(POINTS), lambda: [process.kill() for process in killed] and None)

    def _restart(self) -> None:
        for process in self._processes:
            if not process.is_running:
                process.start()

    def _wait_for_some(self) -> None:
        if self._posts:
            wait(self._posts, timeout=60, return_when="FIRST_COMPLETED")

    def _advance(self) -> None:
        """Let time pass while no call to Open-E runs: a call cannot last longer than its timeouts."""
        self._wait_until_quiet()
        self._clock.advance(self._chance.uniform(0, 30))

    def _wait_until_quiet(self) -> None:
        """Wait until every post has ended, and the mock has read what killed processes sent before their end."""
        assert not wait(self._posts, timeout=60).not_done, "a post did not end"
        for _ in range(2):
            with urlopen(f"{self._mock_url}/control/overview", timeout=60) as response:
                response.read()

    def _end(self) -> Found:
        """Let Open-E answer again and time pass, repeat what callers do not know, and return what is found."""
        self._mock.arm("", lambda: None)
        self._wait_until_quiet()
        self._mock.clear_faults()
        self._mock.set_conditions(Conditions())
        self._restart()
        unknown = {wish for wish in self._wishes if wish.key is not None}
        url = self._processes[0].url
        for _ in range(LAST_ADVANCES):
            statuses = {wish: self._call(url, wish, deletes=False) for wish in sorted(unknown, key=str)}
            unknown = {wish for wish, status in statuses.items() if status in {NO_ANSWER, 409} or status >= 500}
            if not unknown and not self._count_in_doubt():
                break
            self._wait_until_quiet()
            self._clock.advance(ADVANCE_SECONDS)
            self._mock.wait_for_read(IDLE_SECONDS)
        self._faults += [f"no certain answer for {wish}" for wish in unknown]
        on_case = count_contents(
            Content(
                message.case,
                _normalise_line_breaks(message.text),
                message.files[0].filename if message.files else None,
                message.user_id,
            )
            for message in self._mock.list_messages()
            if message.origin != "planted"
        )
        return Found(on_case, self._list_readable(url), self._count_in_doubt())

    def _count_in_doubt(self) -> int:
        async def count() -> int:
            database = open_database(self._database_url)
            try:
                return len(await list_unsettled(database, UNSETTLED_STATES, 1_000_000))
            finally:
                await database.close()

        return asyncio.run(count())

    def _list_readable(self, url: str) -> dict[str, Content]:
        response = httpx.get(
            f"{url}/webmessages/recipients/{PARTY_ID}",
            headers={"apikey": KEY},
            timeout=60,
            trust_env=False,
            verify=False,
        )
        return {
            f"/webmessages/{message['id']}": Content(
                int(message["externalReferences"][0]["value"]),
                _normalise_line_breaks(message["message"]),
                message["attachments"][0]["fileName"] if message.get("attachments") else None,
                (message.get("sender") or {}).get("userId"),
            )
            for message in response.json()
        }


def _normalise_line_breaks(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def _running_mock(mock: MockOpenE) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    running: uvicorn.Server = create_server(mock, "127.0.0.1", 0, signals=False)
    thread = threading.Thread(target=lambda: run_loop(running.serve([listener])), daemon=True)
    thread.start()
    try:
        yield build_address(listener)
    finally:
        running.should_exit = True
        thread.join(30)
        listener.close()
