"""Checks of the database: the server or file, migrations, clock, queue, and messages in doubt."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from datetime import datetime

from budkavle.audit_keys import read_signers
from budkavle.clock import MAX_DIFFERENCE, SLOWEST_SECONDS, read_machine_clock
from budkavle.doctor.findings import CheckSkipped, Findings
from budkavle.settings import Settings, SettingsUnusable
from domain.catalogue import Catalogue
from domain.deliveries import DeliveryState
from domain.errors import BudkavleError
from handlers.metrics import count_in_doubt
from persistence import audit_signatures, catalogue
from persistence.database import Database, DatabaseUnusable
from persistence.queue.depth import count_blocked, list_depths

SLOW_SECONDS = 0.1
"""A slower round trip to the database delays every request."""

FREE_BYTES = 1024**3, 200 * 1024**2
"""Free space for a SQLite file below which there is a warning, and a problem."""

OLDEST_SECONDS = 900
"""Age of the oldest waiting delivery from which there is a warning, as in the alert rules."""

IN_DOUBT_SECONDS = 300
"""Age of a message in doubt from which it is a problem, as in the alert rules."""


class DatabaseChecks:
    """The checks of one database. Those that need its answer, or its tables, are skipped without."""

    def __init__(
        self, settings: Settings, database: Database, now: Callable[[], datetime] = read_machine_clock
    ) -> None:
        self._settings = settings
        self._database = database
        self._now = now
        self._answer: asyncio.Task[None] | None = None

    async def read_catalogue(self) -> Catalogue:
        """Return the catalogue. Raises `CheckSkipped`."""
        await self._wait_for_tables()
        return await catalogue.read(self._database)

    async def check_database(self, findings: Findings) -> None:
        """Check that the database answers, accepts writes, and keeps what it has committed."""
        try:
            await self._ask()
        except DatabaseUnusable as exc:
            findings.add_problem(str(exc), "correct BUDKAVLE_DATABASE_URL, or restore the database")
            return
        began = time.perf_counter()
        await self._database.check_health()
        seconds = time.perf_counter() - began
        facts = await self._database.read_facts()
        pooler = f" through a pooler in {facts.pooler} mode" if facts.pooler else ""
        findings.add_ok(f"{facts.product} at {facts.place}{pooler}, answers in {seconds * 1000:.1f} ms")
        if seconds > SLOW_SECONDS:
            findings.add_warning(f"a round trip takes {seconds:.2f} seconds", "run the service nearer to its database")
        if facts.write_obstacle is not None:
            findings.add_problem(
                f"cannot write {facts.write_obstacle}", "give this user the right to write, or name the primary"
            )
        for name, value in facts.unsafe_settings.items():
            findings.add_problem(
                f"{name} is {value}: a crash may lose committed data", f"correct {name} of the database"
            )
        if facts.encoding not in {None, "UTF8"}:
            findings.add_problem(f"the encoding is {facts.encoding}", "create the database with encoding UTF8")
        if facts.free_bytes is not None:
            self._check_free_bytes(findings, facts.free_bytes)
        wanted = self._settings.database_pool_size + self._settings.database_long_pool_size
        if facts.connections is not None and facts.pooler is None and wanted > facts.connections:
            findings.add_warning(
                f"one process may open {wanted} connections, the server accepts {facts.connections}",
                "raise max_connections, or lower BUDKAVLE_DATABASE_POOL_SIZE",
            )

    async def check_migrations(self, findings: Findings) -> None:
        """Check that the tables are those of this version."""
        await self._wait_for_answer()
        facts = await self._database.read_facts()
        try:
            await self._database.check_version()
        except DatabaseUnusable as exc:
            text, _, remedy = str(exc).partition(": ")
            findings.add_problem(text, remedy or "run 'budkavle migrate'")
        else:
            findings.add_ok(f"the tables are those of this version, {facts.revision}")

    async def check_clock(self, findings: Findings) -> None:
        """Compare the clock of this machine with that of the database."""
        await self._wait_for_answer()
        before = self._now()
        moment = await self._database.read_clock()
        after = self._now()
        if moment is None:
            findings.add_ok("SQLite uses the clock of this machine")
            return
        difference = (before + (after - before) / 2) - moment
        text = f"this machine and the database differ by {difference.total_seconds():+.3f} seconds"
        if abs(difference) > MAX_DIFFERENCE and (after - before).total_seconds() <= SLOWEST_SECONDS:
            findings.add_warning(text, "compare both machines with a time server, and correct the one that is wrong")
        else:
            findings.add_ok(text)

    async def check_queue(self, findings: Findings) -> None:
        """Check that deliveries leave the queue."""
        await self._wait_for_tables()
        now = self._now()
        depths = await list_depths(self._database, now)
        blocked = await count_blocked(self._database)
        waiting, parked = (
            sum(depth.deliveries[state] for depth in depths) for state in (DeliveryState.WAITING, DeliveryState.PARKED)
        )
        worker, backing_off = await self._ask_worker()
        overdue = sum(depth.overdue for depth in depths if depth.system_id not in backing_off)
        oldest = min((depth.oldest for depth in depths if depth.oldest is not None), default=None)
        age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        behind = f"{blocked} behind others of their key"
        findings.add_ok(f"{waiting} waiting ({behind}), oldest {age:.0f} seconds, {parked} parked; {worker}")
        if overdue:
            findings.add_problem(
                f"{overdue} deliveries are overdue: no worker runs, or too few; {worker}",
                "start a worker, or read its log",
            )
        for depth in depths:
            if depth.overdue and depth.system_id in backing_off:
                findings.add_warning(
                    f"{depth.overdue} deliveries are overdue: system {depth.system_id} fails, and the worker backs off",
                    f"'budkavle deliveries list --state waiting --system {depth.system_id}' has the reason",
                )
        if age > OLDEST_SECONDS:
            findings.add_warning(
                f"a delivery has waited for {age:.0f} seconds",
                "'budkavle deliveries list --state waiting' has the reason",
            )
        if parked:
            findings.add_warning(
                f"{parked} deliveries are parked",
                "'budkavle deliveries list --state parked', then replay or drop them",
            )

    async def check_messages(self, findings: Findings) -> None:
        """Check that messages in doubt settle."""
        await self._wait_for_tables()
        figures = await count_in_doubt(self._database, self._now(), self._settings.build_call_times().longest_call)
        if figures is None:
            findings.add_problem("the messages in doubt cannot be counted", "repair the database first")
            return
        number, age = sum(figures.messages.values()), figures.oldest_seconds
        text = f"{number} in doubt, oldest {age:.0f} seconds"
        if age > IN_DOUBT_SECONDS:
            findings.add_problem(text, "search the log for read_back_failed; 'budkavle messages list' shows them")
        else:
            findings.add_ok(text)

    async def check_audit(self, findings: Findings) -> None:
        """Check that this process can sign entries of the audit if they must be signed."""
        await self._wait_for_tables()
        try:
            signers = read_signers(self._settings)
        except SettingsUnusable as exc:
            raise CheckSkipped("BUDKAVLE_AUDIT_KEY cannot be used") from exc
        is_signed, signing = await audit_signatures.find_signing(self._database, signers)
        if is_signed and signing is None:
            findings.add_problem(
                "the entries of the audit are signed, and BUDKAVLE_AUDIT_KEY has none of their keys",
                "set it as for the other processes: none starts or writes without it",
            )
        elif signers and not is_signed:
            findings.add_warning(
                "BUDKAVLE_AUDIT_KEY is set, and entries without a signature are not reported",
                "run 'budkavle audit start-signing' once all processes have the key",
            )
        else:
            findings.add_ok("entries are signed" if is_signed else "entries need no signatures")

    async def _ask(self) -> None:
        """Raise the error of a database that does not answer. Concurrent checks share one attempt."""
        if self._answer is None:
            self._answer = asyncio.create_task(self._try_to_use())
        await asyncio.shield(self._answer)

    async def _try_to_use(self) -> None:
        self._database.check_exists()
        await self._database.check_health()

    async def _wait_for_answer(self) -> None:
        try:
            await self._ask()
        except BudkavleError as exc:
            raise CheckSkipped("the database cannot be used") from exc

    async def _wait_for_tables(self) -> None:
        await self._wait_for_answer()
        try:
            await self._database.check_version()
        except DatabaseUnusable as exc:
            raise CheckSkipped("the tables are not those of this version") from exc

    def _check_free_bytes(self, findings: Findings, free: int) -> None:
        text = f"{free / 1024**2:.0f} MiB are free on the disk of the database"
        warning, problem = FREE_BYTES
        if free < problem:
            findings.add_problem(text, "free some space: writes fail when the disk is full")
        elif free < warning:
            findings.add_warning(text, "free some space")
        else:
            findings.add_ok(text)

    async def _ask_worker(self) -> tuple[str, frozenset[str]]:
        """Return whether a worker answers on this machine, and the systems from which it backs off.

        A worker inside `serve`, or on another machine, does not answer.
        """
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.worker_host, self._settings.worker_host)  # noqa: S104  # The address of a setting.
        place = f"{host} port {self._settings.worker_port}"
        metrics = await _read_metrics(host, self._settings.worker_port) if self._settings.worker_port else None
        if metrics is None:
            return f"no worker process answers at {place}", frozenset()
        return f"a worker answers at {place}", frozenset(_BACKING_OFF.findall(metrics))


_BACKING_OFF = re.compile(r'^budkavle_delivery_targets_backing_off\{system="([^"]+)"\} [1-9]', re.MULTILINE)


async def _read_metrics(host: str, port: int) -> str | None:
    """Return the metrics of the process at this address, or None if it does not answer within a second."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                response = (await reader.read()).decode(errors="replace")
                return response if response.startswith("HTTP/1.1 200 ") else None
            finally:
                writer.close()
    return None
