"""The operations of spec/operations.yaml."""

import asyncio

import structlog
from starlette.responses import Response

from domain.errors import NotFound, StorageFailed
from domain.web_messages import OepInstance
from handlers import metrics
from handlers.requests import Request
from openapi import replies
from persistence import delivery_pauses

PAUSES_TIMEOUT_SECONDS = 1
"""Time for the pauses of deliveries in a health check. Other requests may use all connections of the pool."""

log = structlog.get_logger("budkavle.database")


async def get_health_live(request: Request) -> Response:
    """Return `UP`, because the process runs."""
    request.raise_violations()
    return replies.ok({"status": "UP"})


async def get_health_ready(request: Request) -> Response:
    """Return whether the database responds. Open-E is reported but does not affect the status."""
    request.raise_violations()
    try:
        await request.services.database.check_health()
        database = "UP"
    except StorageFailed as exc:
        log.warning("database_check_failed", reason=exc.reason, detail=exc.explanation or None)
        database = "DOWN"
    health = request.services.open_e.get_health
    components = {
        "database": database,
        "openEExternal": health(OepInstance.EXTERNAL),
        "openEInternal": health(OepInstance.INTERNAL),
    }
    # A process that is about to stop is not ready for new callers.
    status = "DOWN" if request.services.is_draining() else database
    reply = replies.ok if status == "UP" else replies.unavailable
    pauses = await _count_delivery_pauses(request) if database == "UP" else {}
    return reply({"status": status, "components": components} | pauses)


async def _count_delivery_pauses(request: Request) -> dict[str, int]:
    """Return the number of pauses as a member of the response, or no member if the database fails or is too slow."""
    try:
        async with asyncio.timeout(PAUSES_TIMEOUT_SECONDS):
            pauses = await delivery_pauses.list_pauses(request.services.database, request.services.now())
    except (StorageFailed, TimeoutError):
        return {}
    return {"deliveryPauses": len(pauses)}


async def get_metrics(request: Request) -> Response:
    """Return the metrics of the process, the queue and the messages. The first are available without the database."""
    request.raise_violations()
    services = request.services
    issuers = services.get_issuers()
    samples = await metrics.collect(
        services.database,
        services.queue_watch,
        services.now(),
        services.call_times.longest_call,
        [] if issuers is None else issuers.verifier.list_key_sets(),
    )
    return replies.metrics(samples)


async def get_protected_resource(request: Request) -> Response:
    """Return the metadata of the service for callers with access tokens."""
    request.raise_violations()
    issuers = request.services.get_issuers()
    if issuers is None or issuers.metadata is None:
        raise NotFound("No protected resource is configured")
    return replies.ok(issuers.metadata)
