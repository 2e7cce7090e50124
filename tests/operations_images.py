"""Take the pictures of the operations page for its guide: `python -m tests.operations_images`."""

import base64
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domain.deliveries import Attempt, AttemptOutcome, Reason
from persistence import deliveries, outbox, tables
from persistence.database import Database
from persistence.outbox import Publication
from persistence.queue import claims
from persistence.queue.claims import SettledAttempt
from persistence.work import short_write
from tests.browser import running_browser, show_as, wait
from tests.databases import run_with_database
from tests.handlers.operations_page.operations import put_keys, running_page
from tests.persistence.catalogues import SYSTEM_IDS, build_entry, prepare, sync
from tests.persistence.publication_steps import send, to_case
from tests.persistence.queues import build_event, build_lease, build_settled, claim
from tests.processes import REPOSITORY

IMAGES = REPOSITORY / "docs" / "images"
NAMES = ("Borgerservice", "Jobcenter Nord", "Kulturkontoret", "Skolf\u00f6rvaltningen", "Socialforvaltningen")
NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)
PERSON = {"identification_type": 1, "identification": "9999999901"}


async def fill(database: Database) -> None:
    """Store a day of deliveries to five systems, of which one rejects and one fails."""
    await database.migrate()
    await prepare(database)
    await database.write(_name_systems)
    for system_id in SYSTEM_IDS[:4]:
        await sync(database, [build_entry(webhook_url="/hooks/cases")], system_id)
    chance = random.Random(7)
    for _ in range(240):
        await _publish(database, NOW - chance.randrange(30, 1400) * MINUTE)
    while claimed := await claim(database, now=NOW):
        await claims.settle(database, build_lease(now=NOW), [build_settled(each) for each in claimed])
    await database.write(_spread_receipts, chance)
    for _ in range(3):
        await _publish(database, NOW - 2 * MINUTE)
    await _publish(database, NOW - MINUTE, **PERSON)
    await _settle(database, SYSTEM_IDS[0], AttemptOutcome.PARK, 404, Reason.HTTP, '{"error": "no hook for cases"}')
    await _settle(database, SYSTEM_IDS[1], AttemptOutcome.AGAIN, None, Reason.TIMEOUT, "no answer within 15 seconds")
    for system_id in SYSTEM_IDS[2:4]:
        await _settle(database, system_id, AttemptOutcome.DONE, 200, Reason.HTTP, "")
    await _publish(database, NOW - MINUTE / 2, **PERSON)
    await claim(database, now=NOW, of={SYSTEM_IDS[1]: 9})
    await send(database, to_case(), NOW - 5 * MINUTE)


async def _publish(database: Database, created: datetime, **fields: Any) -> None:
    await outbox.publish(database, Publication(build_event(created=created, **fields), "case-system", "request"))


async def _settle(
    database: Database, system_id: str, outcome: AttemptOutcome, status: int | None, reason: Reason, answer: str
) -> None:
    for item in await claim(database, now=NOW, of={system_id: 99}):
        if outcome is AttemptOutcome.DONE:
            settled = build_settled(item)
        else:
            due = NOW + 9 * MINUTE if outcome is AttemptOutcome.AGAIN else None
            settled = SettledAttempt(item.number, outcome, Attempt(1, NOW - MINUTE, 12, status, reason, answer), due)
        await claims.settle(database, build_lease(now=NOW), [settled])


@short_write
def _name_systems(connection: sa.Connection) -> None:
    for system_id, name in zip(SYSTEM_IDS, NAMES, strict=False):
        address = f"https://{name.split()[0].lower()}.example"
        update = tables.systems.update().where(tables.systems.c.id == system_id)
        connection.execute(update.values(name=name, base_url=address))
    connection.execute(tables.systems.delete().where(tables.systems.c.id.in_(SYSTEM_IDS[len(NAMES) :])))


@short_write
def _spread_receipts(connection: sa.Connection, chance: random.Random) -> None:
    for row in connection.execute(sa.select(tables.receipts.c.id, tables.receipts.c.accepted)).all():
        arrived = min(NOW, row.accepted + chance.expovariate(1 / 25) * MINUTE)
        update = tables.receipts.update().where(tables.receipts.c.id == row.id)
        connection.execute(update.values(last_attempt=arrived, first_attempt=row.accepted))


def save(browser: Any, name: str, height: int) -> None:
    """Save the upper part of the shown page as PNG."""
    width = browser.execute_script("return window.innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    (IMAGES / name).write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/budkavle.db"
        run_with_database(url, fill)
        put_keys(url)
        [parked, *_] = run_with_database(url, lambda database: deliveries.list_parked(database, SYSTEM_IDS[0], 0, 9))
        settings = {"open_e_external_url": "https://open-e.example/api/callback"}
        with running_page(url, **settings) as page, running_browser(Path(folder) / "browser") as browser:
            show_as(browser, width=1000)
            browser.get(f"{page.url}/operations")
            browser.find_element("name", "key").send_keys("anna\n")
            wait(browser, "document.querySelector('.charts')")
            save(browser, "operations-overview.png", 1020)
            browser.get(f"{page.url}/operations/deliveries/{parked.id}")
            save(browser, "operations-delivery.png", 820)
            show_as(browser, width=360, scheme="dark")
            browser.get(f"{page.url}/operations")
            save(browser, "operations-phone.png", 900)


if __name__ == "__main__":
    main()
