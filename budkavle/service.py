"""Assemble the service: create the ASGI application from settings."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import uvicorn
from starlette.types import ASGIApp

from budkavle.audit_keys import open_configured_database
from budkavle.clock import now
from budkavle.ids import create_id
from budkavle.issuers import Issuers
from budkavle.open_e import (
    build_accounts,
    build_municipalities,
    create_calls,
    create_case_reads,
    create_read_backs,
)
from budkavle.settings import Settings
from budkavle.specs import find_spec_dir
from delivery.worker import Worker
from domain.api_keys import ApiKey
from domain.tracing import Tracer
from handlers.application import create_application
from handlers.contracts import DEFAULT, OEP_INTEGRATOR_1_5, WEB_MESSAGES, WEB_MESSAGES_3_2
from handlers.metrics import QueueWatch
from handlers.publications.idempotency_keys import ExpiredKeys
from handlers.publications.outcomes import PublicationOutcomes
from handlers.publications.settler import CONCURRENT_CASES, PublicationSettler
from handlers.requests import Services
from handlers.security.authentication import ApiKeys
from handlers.tallies.api_keys import KeyRecords
from handlers.tallies.message_reads import ReadTally
from handlers.tallies.refusals import RefusalTally
from openapi.bodies.budget import BodyBudget
from openapi.docs import Demo
from openapi.observation.source_limits import FailureLimit
from openapi.server.connections import Connections
from openapi.server.protocol import BoundedProtocol
from openapi.server.serving import Drain
from party_service.legal_ids import Parties
from persistence.database import Database

if TYPE_CHECKING:
    from handlers.operations_page.routes import OperationsOptions


def create_service(
    settings: Settings,
    database: Database | None = None,
    *,
    extra_keys: tuple[ApiKey, ...] = (),
    clock: Callable[[], datetime] = now,
    contracts: Collection[str] | None = None,
    worker: Worker | None = None,
    issuers: Issuers | None = None,
    drain: Drain | None = None,
    body_budget: BodyBudget | None = None,
    tracer: Tracer | None = None,
    operations: "OperationsOptions | None" = None,
    demo: Demo | None = None,
) -> ASGIApp:
    """Return the service as an ASGI application on a prepared database (`prepare_database`).

    It serves `contracts`, by default all that the settings turn on. Each accepted event wakes the `worker` in the same
    process, or without one the workers of other processes. `issuers` are those of access tokens; by default they are
    read from the settings, and never again. `drain` reports that the process is about to stop. `body_budget` limits
    large bodies; by default it follows from the settings. `tracer` records traces. With `operations`, the operations
    page is served too. `demo` is what the pages of a demo offer in addition.
    """
    contracts = (*DEFAULT, *settings.compatibility_apis) if contracts is None else contracts
    spec_dir = find_spec_dir()
    store = database or open_configured_database(settings)
    accounts = build_accounts(settings)
    open_e = create_calls(settings, accounts, clock, threads=settings.open_e_threads, tracer=tracer)
    read_backs = create_read_backs(settings, accounts, concurrent_cases=CONCURRENT_CASES)
    case_reads = create_case_reads(settings, accounts) if OEP_INTEGRATOR_1_5 in contracts else None
    parties = create_parties(settings) if OEP_INTEGRATOR_1_5 in contracts else None
    outcomes = PublicationOutcomes(store, now=clock, timeout=settings.record_timeout)
    wake_worker = store.notify_workers if worker is None else worker.wake
    settler = PublicationSettler(
        store,
        read_backs.read_case,
        rules=settings.build_settling_rules(),
        lease=timedelta(seconds=settings.settle_lease),
        now=clock,
        on_readable=partial(wake_worker, is_certain=False),
    )
    issuers = issuers or Issuers(settings, clock)
    key_records = KeyRecords(store, now=clock, new_id=create_id)
    read_interval = timedelta(minutes=settings.audit_read_minutes)
    read_tally = ReadTally(store, now=clock, interval=read_interval) if read_interval else None
    services = Services(
        database=store,
        open_e=open_e,
        outcomes=outcomes,
        settler=settler,
        call_times=settings.build_call_times(),
        now=clock,
        new_id=create_id,
        queue_watch=QueueWatch(store),
        refusals=RefusalTally(store, now=clock),
        wake_worker=wake_worker,
        wake_worker_for_message=partial(wake_worker, is_certain=False),
        content_budget=create_body_budget(settings),
        key_lifetime=timedelta(days=settings.idempotency_days),
        read_tally=read_tally,
        get_issuers=issuers.get_accepted,
        tracer=tracer,
        municipalities=build_municipalities(settings, accounts),
        case_reader=case_reads,
        parties=parties,
        api_docs=(spec_dir / f"{WEB_MESSAGES_3_2}.yaml").read_bytes() if WEB_MESSAGES_3_2 in contracts else b"",
    )
    if drain is not None:
        services = replace(services, is_draining=drain.is_active)

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        expired_keys = ExpiredKeys(store, lifetime=services.key_lifetime, now=clock)
        regular = [asyncio.create_task(each.run_forever()) for each in (expired_keys, key_records)]
        if WEB_MESSAGES in contracts:
            settler.start()
        issuers.start_fetches()
        yield
        issuers.stop_fetches()
        await settler.close()
        for task in regular:
            task.cancel()
        await asyncio.wait(regular)
        await key_records.close()
        await outcomes.close()
        await services.refusals.close()
        if read_tally is not None:
            await read_tally.close()
        open_e.close()
        read_backs.close()
        if case_reads is not None:
            case_reads.close()
        if parties is not None:
            parties.close()
        if database is None:
            await store.close()

    return create_application(
        spec_dir,
        services,
        ApiKeys(store, clock, extra_keys, key_records.note_use),
        trusted_proxies=settings.trusted_proxies,
        lifespan=lifespan,
        contracts=contracts,
        body_budget=body_budget or create_body_budget(settings),
        failures=FailureLimit(settings.failed_authentications),
        is_linked=settings.link_operations,
        tracer=tracer,
        operations=operations,
        demo=demo,
    )


def create_parties(settings: Settings) -> Parties | None:
    """Return the look-ups of persons, None without a party service. Close them after use."""
    if settings.party_url is None:
        return None
    ca = None if settings.party_ca is None else str(settings.party_ca)
    return Parties(str(settings.party_url), ca=ca, timeout=settings.party_timeout)


def create_body_budget(settings: Settings) -> BodyBudget:
    """Return the budget of one process for large bodies."""
    return BodyBudget(settings.body_bytes, settings.body_queue_timeout)


def build_server_config(
    settings: Settings,
    application: ASGIApp,
    lifespan: Literal["on", "off"] = "on",
    tls: ssl.SSLContext | None = None,
) -> uvicorn.Config:
    """Return uvicorn's configuration for the application, with TLS if a context is given (`ServerTls`)."""
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        http=partial(BoundedProtocol, connections=Connections(settings.build_connection_limits())),  # type: ignore[arg-type]  # uvicorn only calls it.
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        # A service that cannot be assembled must not start.
        lifespan=lifespan,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
