"""The operation of spec/subscriptions.yaml about the receipts of a system."""

import asyncio
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from domain.receipts import Receipt
from domain.subscriptions import read_time, write_time
from handlers import paging
from handlers.errors.error_list_texts import build_nonexistent_time_violation
from handlers.requests import Request
from handlers.security.authorisation import SYSTEM, authorise_system
from openapi import replies
from persistence import receipts
from persistence.receipts import ReceiptFilter, ReceiptPosition

MAX_PAGE = 1000

PATH = "/v1/abonnement/kvitteringer"


async def hent_kvitteringer(request: Request) -> Response:
    """Return the receipts of a system, by their last attempt."""
    parameters = request.parameters
    system_id = authorise_system(request, parameters.get(SYSTEM))
    since, until = _read_time(request, "fra"), _read_time(request, "til")
    request.raise_violations()
    assert system_id is not None  # noqa: S101  # The parameter is required, so it is present without violations.
    event_id: str | None = parameters.get("beskedId")
    limit: int = parameters.get("limit", MAX_PAGE)
    after = _read_cursor(parameters["after"]) if "after" in parameters else None
    filter_ = ReceiptFilter(system_id, event_id and event_id.lower(), since, until)
    page = await receipts.list_page(request.services.database, filter_, after, limit + 1)

    response = await asyncio.to_thread(_write_page, page[:limit])
    if len(page) > limit:
        filters = {name: parameters[name] for name in ("beskedId", "fra", "til") if name in parameters}
        last = page[limit - 1]
        cursor = {"limit": limit, "after": paging.encode_position(last.last_attempt, last.id)}
        query = urlencode({SYSTEM: system_id} | filters | cursor)
        response.headers["Link"] = f'<{PATH}?{query}>; rel="next"'
    return response


def _read_cursor(text: str) -> ReceiptPosition:
    position = paging.decode(text)
    return ReceiptPosition(position.created, position.id)


def _read_time(request: Request, name: str) -> datetime | None:
    """Return the time of a parameter. A time that does not exist is a violation."""
    if name not in request.parameters or any(violation.field == name for violation in request.violations):
        return None
    moment = read_time(request.parameters[name])
    if moment is None:
        request.violations.append(build_nonexistent_time_violation(name))
    return moment


def _write_page(page: list[Receipt]) -> Response:
    return replies.ok({"kvitteringer": [_write(item) for item in page]})


def _write(item: Receipt) -> dict[str, Any]:
    return {
        "leveringId": item.id,
        "beskedId": item.event_id,
        "orgType": item.org_type,
        "orgCode": item.org_code,
        "entityType": item.entity_type,
        "webhookUrl": item.webhook_url,
        "oprettet": write_time(item.accepted),
        "foersteForsoeg": write_time(item.first_attempt),
        "sidsteForsoeg": write_time(item.last_attempt),
        "forsoeg": item.attempts,
        "httpStatus": item.status,
        "millisekunder": item.milliseconds,
        "sha256": item.hash,
    }
