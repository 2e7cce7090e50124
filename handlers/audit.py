"""Record each call of an audited operation that its own transaction does not record: look-ups, rejections, failures.

`build_entry` returns the entry of a call for its own transaction.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.audit import NO_SYSTEM, AuditEntry
from domain.errors import RefusalReason, StorageFailed
from handlers.requests import Request, Services
from handlers.tallies.refusals import NOT_CHECKED
from openapi.observation.peers import PEER, compute_source
from openapi.requests import CALL, CALLER, AuditedCall
from persistence import audit

log = structlog.get_logger("budkavle.audit")


def build_entry(
    request: Request, chain: str, kind: str, outcome: str, detail: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Return the entry of a call, or of its change, which the transaction of the change records."""
    return AuditEntry(
        chain=chain,
        kind=kind,
        time=request.services.now(),
        operation=request.operation_id,
        caller=request.caller.name,
        outcome=outcome,
        request_id=request.request_id,
        detail=dict(detail or {}),
    )


def audit_operation(app: ASGIApp, operation: Mapping[str, Any], services: Services) -> ASGIApp:
    """Return an operation of a contract whose calls are recorded, unless the contract has `x-audited: false`."""
    return AuditedOperation(app, operation["operationId"], services) if operation.get("x-audited", True) else app


class AuditedOperation:
    """An operation whose calls are audited."""

    def __init__(self, app: ASGIApp, operation: str, services: Services) -> None:
        self._app = app
        self._operation = operation
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a call before its response is sent."""
        call = scope[CALL] = AuditedCall()

        async def audit_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not call.is_recorded:
                call.is_recorded = True
                await self._record(call, message["status"], scope)
            await send(message)

        await self._app(scope, receive, audit_and_send)

    async def _record(self, call: AuditedCall, status: int, scope: Scope) -> None:
        detail: dict[str, Any] = {}
        outcome = "answered"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            outcome, detail = "failed", {"status": status}
        elif status >= HTTPStatus.BAD_REQUEST:
            outcome, detail = "refused", {"status": status, "errors": call.errors}
        caller = scope.get(CALLER)
        has_no_access = call.reason is not None or caller is None
        if has_no_access:
            # The chain of a system has no entries of callers without access, even if they have just lost it.
            call.chain = NO_SYSTEM
        entry = AuditEntry(
            chain=call.chain,
            kind="call",
            time=self._services.now(),
            operation=self._operation,
            caller=caller.name if caller else call.claimed_caller or f"ip:{compute_source(scope[PEER])}",
            outcome=outcome,
            request_id=scope["budkavle.request_id"],
            detail=detail,
        )
        if has_no_access:
            await record_refusal(self._services, entry, call.reason, scope[PEER])
        else:
            await _write_or_log(entry, audit.record(self._services.database, entry))


async def record_refusal(services: Services, entry: AuditEntry, reason: RefusalReason | None, peer: str) -> None:
    """Record the call of a caller without access, or count it, with the reason and the address of the caller.

    `reason` is None for a call that failed before its certificate was looked up.
    """
    entry = replace(entry, detail={**entry.detail, "reason": reason or NOT_CHECKED, "address": peer})
    await _write_or_log(entry, services.refusals.record(entry, reason))


async def _write_or_log(entry: AuditEntry, write: Awaitable[object]) -> None:
    try:
        await write
    except StorageFailed as exc:
        # Send the response nevertheless: the requested work was already done or rejected.
        log.error(  # noqa: TRY400  # A trace adds nothing to the reason.
            "call_not_audited",
            operation=entry.operation,
            outcome=entry.outcome,
            request_id=entry.request_id,
            reason=exc.reason,
        )
