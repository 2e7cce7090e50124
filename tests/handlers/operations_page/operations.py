"""A database with stuck deliveries and a message in doubt, the operations page on it, and its visitors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import httpx

from budkavle.ids import create_id
from conftest import running_server
from domain.api_keys import ApiKey, hash_key
from domain.audit import AuditEntry
from domain.deliveries import Attempt, AttemptOutcome, Reason
from persistence import api_keys, audit, outbox, web_messages
from persistence.database import Database
from persistence.outbox import Publication
from persistence.queue import claims
from persistence.queue.claims import SettledAttempt
from tests.budkavle.services import create_plain_client
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, build_entry, sync
from tests.persistence.publication_steps import to_case
from tests.persistence.queues import build_event, build_lease, claim

KEYS = {"anna": ("operations",), "bo": ("operations.read",), "sender": ("messages", "publish")}
"""The scopes of keys by name. Each key is its name."""

ROOT = "/operations"


def put_keys(url: str) -> None:
    """Store the keys."""

    async def put(database: Database) -> None:
        for name, scopes in KEYS.items():
            await api_keys.create(database, ApiKey(hash_key(name.encode()), name, scopes, NOW))

    run_with_database(url, put)


@dataclass
class Page:
    """The running page. `url` is its address, `database_url` that of its database."""

    url: str
    database_url: str

    @contextmanager
    def signed_in(self, key: str = "anna") -> Iterator["Visitor"]:
        """Yield a visitor who has signed in with a key."""
        with self.visiting() as visitor:
            response = visitor.sign_in(key)
            assert response.status_code == 303, response.text
            yield visitor

    @contextmanager
    def visiting(self) -> Iterator["Visitor"]:
        """Yield a visitor."""
        with create_plain_client(self.url, "") as client:
            del client.headers["apikey"]
            yield Visitor(client)

    def run(self, work: Any) -> Any:
        """Run work on the database."""
        return run_with_database(self.database_url, work)

    def list_entries(self, chain: str) -> list[AuditEntry]:
        """Return the entries of a chain of the audit, the newest first."""

        async def read(database: Database) -> list[AuditEntry]:
            return [each.entry for each in await audit.list_latest(database, chain, 50)]

        return self.run(read)


@dataclass
class Visitor:
    """A visitor with cookies, who sends what a browser sends."""

    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def read(self, path: str) -> str:
        """Return the text of a page, without tags."""
        response = self.get(path)
        assert response.status_code == 200, (path, response.status_code, response.text)
        return to_text(response.text)

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        sent = {"sec-fetch-site": "same-origin"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, data=fields or {}, headers=sent)

    def sign_in(self, key: str, **headers: str) -> httpx.Response:
        return self.post(f"{ROOT}/sign-in", {"key": key}, **headers)

    def read_form(self, path: str) -> dict[str, str]:
        """Return the hidden fields of a confirmation page."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text.split("<main")[1])
        return {name: unescape(value) for name, value in hidden}

    def confirm(self, path: str, **fields: str) -> str:
        """Open the confirmation page, send its form, and return the text of the page with the result."""
        response = self.post(path, self.read_form(path) | fields)
        assert response.status_code == 303, to_text(response.text)
        return self.read(response.headers["location"])


def to_text(html: str) -> str:
    """Return the words of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.split("<main")[1])).split())


@contextmanager
def running_page(database_url: str, *, is_changing: bool = True, **settings: Any) -> Iterator[Page]:
    """Run the page in a thread of this process."""
    from budkavle.service import create_service
    from budkavle.settings import Settings
    from handlers.operations_page.routes import OperationsOptions

    quiet = {"failed_authentications": 1_000_000}
    chosen = Settings(database_url=database_url, **quiet | settings)
    options = OperationsOptions(is_changing, chosen.build_operations_certificates())
    application = create_service(chosen, contracts=["operations"], operations=options)
    with running_server(chosen, application) as url:
        yield Page(url, database_url)


@dataclass(frozen=True)
class Stuck:
    """Ids of what `put_stuck` stored."""

    parked: list[str]
    failing: str
    blocked: str
    message: str
    request: str


async def put_stuck(database: Database, system_id: str = SYSTEM, org_code: int = 101) -> Stuck:
    """Subscribe a system, and store two parked, a failing and a blocked delivery, and a message in doubt."""
    await sync(database, [build_entry(org_code=org_code, webhook_url=f"/hooks/{org_code}")], system_id)
    request, soon = uuid4().hex, datetime.now(UTC) + timedelta(hours=1)
    keyed = {"identification_type": 1, "identification": "9999999901"}
    found: dict[str, list[str]] = {"park": [], "again": []}
    for outcome, status, fields in [("park", 404, {}), ("park", 410, {}), ("again", 503, keyed)]:
        event = build_event(org_code=org_code, **fields)
        await outbox.publish(database, Publication(event, "publisher", request))
        for item in await claim(database, of={system_id: 1}):
            attempt = Attempt(1, NOW, 20, status, Reason.HTTP, "<b>closed</b> & gone")
            due = soon if outcome == "again" else None
            settled = SettledAttempt(item.number, AttemptOutcome(outcome), attempt, due)
            await claims.settle(database, build_lease(), [settled])
            found[outcome].append(item.id)
    await outbox.publish(database, Publication(build_event(org_code=org_code, **keyed), "publisher", request))
    # A look of a worker sets the delivery behind the failing one aside.
    await claim(database, of={system_id: 1})
    from persistence import deliveries

    [blocked] = [each.id for each in await deliveries.list_page(database, system_id, None, 0, 100) if each.blocked_by]
    message = to_case(id=create_id())
    await web_messages.begin_sending(database, message, NOW, request_id=request)
    await web_messages.mark_unknown(database, message.id)
    return Stuck(found["park"], found["again"][0], blocked, message.id, request)
