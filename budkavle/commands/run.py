"""Run the programs: the service, a worker, and both with a demo."""

import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import click

from budkavle.audit_keys import check_audit_keys, open_configured_database
from budkavle.clock import DatabaseClock, measure_clock
from budkavle.commands.console import prepare_database
from budkavle.issuers import Issuers, read_trusted_issuers
from budkavle.service import build_server_config, create_body_budget, create_service
from budkavle.service_manager import report_ready
from budkavle.settings import Settings
from budkavle.tls import ServerTls, build_server_context
from budkavle.tracing import record_traces
from openapi.server import serving
from openapi.server.processes import Member, Supervisor
from openapi.server.serving import Drain, QuietServer, Work, build_address, listen, run_servers
from persistence.database import Database

if TYPE_CHECKING:
    from budkavle.delivering import Delivering

PrintLine = Callable[[str], None]


def serve(
    settings: Settings, print_line: PrintLine, *, with_worker: bool = False, group: Supervisor | None = None
) -> None:
    """Run the service until a signal, optionally with a worker, and as several processes that share the port."""
    with listen(settings.host, settings.port) as listener:
        # Read the files before the fork: unusable files are then one error, not one of each process.
        address = build_address(listener, tls=build_server_context(settings) is not None)
        read_trusted_issuers(settings)
        started: Callable[[], None] = partial(_report_start, print_line, f"Budkavle listens on {address}")
        members: tuple[Member, ...] = ()
        if group is not None:
            member = group.fork(started, listener.close)
            started, members = member.report_start, (member,)
        serving.run(_serve(settings, listener, print_line, started, members, with_worker=with_worker))


async def _serve(
    settings: Settings,
    listener: socket.socket,
    print_line: PrintLine,
    started: Callable[[], None],
    members: Sequence[Work],
    *,
    with_worker: bool,
) -> None:
    async with _database(settings) as (database, clock), record_traces() as tracer:
        from budkavle.retention import create_regular_purge

        delivering = None
        works: list[Work] = [*members, create_regular_purge(settings, database, clock.now)]
        if with_worker:
            from budkavle.delivering import Delivering

            delivering = Delivering(settings, database, clock, print_line, tracer)
            works += [*_create_works_of_worker(settings, database, clock, delivering), delivering]
        drain = Drain(settings.drain_seconds)
        worker = delivering.worker if delivering else None
        budget = create_body_budget(settings)
        issuers = Issuers(settings, clock.now)
        application = create_service(
            settings,
            database,
            clock=clock.now,
            worker=worker,
            issuers=issuers,
            drain=drain,
            body_budget=budget,
            tracer=tracer,
        )
        tls = ServerTls(settings)

        def reload() -> None:
            tls.reload()
            issuers.reload()

        await run_servers(
            [(QuietServer(build_server_config(settings, application, tls=tls.context)), listener)],
            started,
            tls,
            issuers,
            clock,
            *works,
            drain=drain,
            reload=reload,
            is_busy=lambda: budget.reserved > 0,
        )


async def run_worker(settings: Settings, print_line: PrintLine) -> None:
    """Run a worker until a signal, next to a server for its health and metrics."""
    from budkavle.delivering import Delivering
    from budkavle.retention import create_regular_purge

    own = {"host": settings.worker_host, "port": settings.worker_port}
    # No caller presents a certificate to this server.
    settings = settings.model_copy(update=own | {"tls_cert": None, "tls_key": None, "client_ca": None, "issuers": None})
    async with _database(settings) as (database, clock), record_traces() as tracer:
        with listen(settings.host, settings.port) as listener:
            application = create_service(settings, database, clock=clock.now, contracts=["operations"])
            server = QuietServer(build_server_config(settings, application))
            address = build_address(listener)
            delivering = Delivering(settings, database, clock, print_line, tracer)
            await run_servers(
                [(server, listener)],
                partial(_report_start, print_line, f"The worker listens on {address}"),
                clock,
                delivering,
                *_create_works_of_worker(settings, database, clock, delivering),
                create_regular_purge(settings, database, clock.now),
            )


def _create_works_of_worker(
    settings: Settings, database: Database, clock: DatabaseClock, delivering: "Delivering"
) -> list[Work]:
    """Return the regular work next to a worker: seals of receipts and of the audit, and events for operators."""
    from budkavle.operator_events import create_operator_events
    from budkavle.receipt_sealing import create_receipt_sealing
    from budkavle.sealing import create_regular_seals

    return [
        create_receipt_sealing(settings, database, clock.now),
        *create_regular_seals(settings, database, clock.now),
        *create_operator_events(settings, database, delivering.worker.failed, clock.now),
    ]


async def run_operations(settings: Settings, print_line: PrintLine) -> None:
    """Run the operations page until a signal, with health and metrics on the same port, and TLS as for the service."""
    from handlers.operations_page.routes import OperationsOptions

    own = {"host": settings.operations_host, "port": settings.operations_port, "issuers": None}
    settings = settings.model_copy(update=own)
    tls = ServerTls(settings)
    async with _database(settings) as (database, clock):
        with listen(settings.host, settings.port) as listener:
            application = create_service(
                settings,
                database,
                clock=clock.now,
                contracts=["operations"],
                operations=OperationsOptions(settings.operations_changes, settings.build_operations_certificates()),
            )
            server = QuietServer(build_server_config(settings, application, tls=tls.context))
            address = build_address(listener, tls=tls.context is not None)
            await run_servers(
                [(server, listener)],
                partial(_report_start, print_line, f"The operations page is at {address}/operations"),
                clock,
                tls,
                reload=tls.reload,
            )


def _report_start(print_line: PrintLine, line: str) -> None:
    print_line(line)
    report_ready()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[tuple[Database, DatabaseClock]]:
    """Yield the configured database, prepared, and its measured clock, which runs inside the context."""
    database = open_configured_database(settings)
    try:
        await prepare_database(database, settings.database_url.get_secret_value())
        await check_audit_keys(database, settings)
        yield database, await measure_clock(database)
    finally:
        await database.close()


async def run_dev(
    settings: Settings, mock_port: int, receiver_port: int, operations_port: int, print_line: PrintLine
) -> None:
    """Run the service, a worker, the operations page, the mock and a receiver with the demo until a signal."""
    from budkavle.commands.mock_open_e import MISSING
    from budkavle.delivering import Delivering
    from budkavle.demo import issuer as demo_issuer
    from budkavle.demo import web_messages
    from budkavle.demo.receiver import SECRET, SECRET_VARIABLE, create_receiver
    from budkavle.demo.subscriptions import put_demo_system
    from budkavle.ids import create_id
    from budkavle.receipt_sealing import create_receipt_sealing
    from handlers.operations_page.routes import OperationsOptions

    try:
        from mock_open_e import MockOpenE
        from mock_open_e.server.application import create_server as mock_server
    except ModuleNotFoundError as exc:
        if exc.name != "mock_open_e":
            raise
        raise click.ClickException(MISSING) from exc

    with (
        listen(settings.host, settings.port) as listener,
        listen(settings.host, mock_port) as mock_listener,
        listen(settings.host, receiver_port) as receiver_listener,
        listen(settings.host, operations_port) as operations_listener,
        tempfile.TemporaryDirectory(prefix="budkavle-dev-") as folder,
    ):
        service, mock, receiver, page = map(
            build_address, (listener, mock_listener, receiver_listener, operations_listener)
        )
        settings = settings.model_copy(
            update={
                "open_e_external_url": f"{mock}/external/api/callback",
                "open_e_internal_url": f"{mock}/internal/api/callback",
                "shutdown_timeout": 5,
                # The printed commands use plain HTTP.
                "tls_cert": None,
                "tls_key": None,
                "client_ca": None,
                # The printed commands send a certificate as a proxy would.
                "trusted_proxies": (ip_network("127.0.0.0/8"),),
            }
        )
        os.environ[SECRET_VARIABLE] = SECRET
        database = open_configured_database(settings)
        try:
            await database.migrate()
            await check_audit_keys(database, settings)
            await web_messages.put_demo_rows(database)
            clock = await measure_clock(database)
            await put_demo_system(database, receiver, clock.now(), create_id())
            delivering = Delivering(settings, database, clock, print_line)
            issuer = demo_issuer.DemoIssuer(clock.now)
            settings = settings.model_copy(update={"issuers": issuer.write_files(Path(folder))})
            issuers = Issuers(settings, clock.now)
            application = create_service(
                settings,
                database,
                extra_keys=(web_messages.get_demo_key(),),
                clock=clock.now,
                worker=delivering.worker,
                issuers=issuers,
                demo=web_messages.describe_demo(mock, receiver, page),
            )
            operations = create_service(
                settings,
                database,
                extra_keys=(web_messages.get_demo_key(),),
                clock=clock.now,
                contracts=["operations"],
                worker=delivering.worker,
                issuers=issuers,
                operations=OperationsOptions(allows_changes=True),
            )
            others = issuer.create_application(create_receiver(clock.now, service=service))
            servers = [
                (QuietServer(build_server_config(settings, application)), listener),
                (QuietServer(build_server_config(settings, operations)), operations_listener),
                (mock_server(MockOpenE(), settings.host, mock_port, signals=False), mock_listener),
                (QuietServer(build_server_config(settings, others, lifespan="off")), receiver_listener),
            ]
            token_url = f"{receiver}{demo_issuer.PATH}"
            await run_servers(
                servers,
                lambda: print_line(web_messages.build_commands(service, mock, receiver, page, token_url)),
                issuers,
                clock,
                delivering,
                create_receipt_sealing(settings, database, clock.now),
                reload=issuers.reload,
            )
        finally:
            await database.close()
