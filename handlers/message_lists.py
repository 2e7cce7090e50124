"""Lists of messages: pages with cursors, or all messages while they are read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from starlette.responses import Response

from domain.errors import NotFound, Overloaded
from domain.message_reads import Subject
from domain.web_messages import WebMessage
from handlers import paging
from handlers.message_json import MessageFormat, compute_length, insert_contents
from handlers.requests import Request
from openapi import replies
from openapi.bodies.budget import Reservation
from persistence import web_message_lists as stored
from persistence.web_message_lists import Position

PAGE = 200
"""Messages per page."""

TURNS = 4
"""Iterations of the event loop for other tasks between two pages."""

ReadPage = Callable[[int, Position | None], Awaitable[list[WebMessage]]]


def count_read(request: Request, messages: Sequence[WebMessage], counted: set[Subject] | None = None) -> None:
    """Count the read of messages for the audit. Subjects in `counted` have been counted for this request."""
    tally = request.services.read_tally
    if tally is not None:
        tally.count(request.caller.name, request.operation_id, messages, counted)


def count_pages(request: Request, read: ReadPage) -> ReadPage:
    """Return `read`, which also counts for the audit each subject that one of its pages contains, once."""
    counted: set[Subject] = set()

    async def read_and_count(limit: int, after: Position | None) -> list[WebMessage]:
        page = await read(limit, after)
        count_read(request, page, counted)
        return page

    return read_and_count


async def respond_with_list(request: Request, path: str, read: ReadPage, message_format: MessageFormat) -> Response:
    """Return the requested page of a list with a link to the next one, or all messages without a limit."""
    limit: int | None = request.parameters.get("limit")
    after = paging.decode(request.parameters["after"]) if "after" in request.parameters else None
    if limit is None:
        return await respond_with_all(count_pages(request, read), after, message_format)
    found = await _read_up_to(limit + 1, read, after)
    count_read(request, found[:limit])
    pages = [await message_format.write_all(found[start : min(start + PAGE, limit)]) for start in range(0, limit, PAGE)]
    response = replies.ok_json(b"[%s]" % b",".join(filter(None, pages)))
    if len(found) > limit:
        response.headers["Link"] = f'<{path}?limit={limit}&after={paging.encode(found[limit - 1])}>; rel="next"'
    return response


async def respond_with_all(read: ReadPage, after: Position | None, message_format: MessageFormat) -> Response:
    """Return all messages after a position, as one piece if they fit on a page."""
    first = await read(PAGE, after)
    if stored.is_last_page(first, PAGE):
        return replies.ok_json(b"[%s]" % await message_format.write_all(first))

    async def render_pages() -> AsyncIterator[bytes]:
        separator = b"["
        async for page in iterate_pages(read, first):
            yield separator + await message_format.write_all(page)
            separator = b","
        yield b"]"

    return replies.ok_stream(render_pages(), None)


async def iterate_pages(read: ReadPage, first: list[WebMessage]) -> AsyncIterator[list[WebMessage]]:
    """Yield the first page of a list, and then its other pages."""
    page = first
    while page:
        yield page
        is_last, last = stored.is_last_page(page, PAGE), paging.get_position(page[-1])
        page = [] if is_last else await _read_next(read, PAGE, last)


async def render_unless_deleted(
    request: Request, message: WebMessage, message_format: MessageFormat
) -> AsyncIterator[bytes]:
    """Yield the JSON of a message with the contents of its files, or nothing if the message was deleted.

    All contents are read before the first piece, so that a deletion cannot truncate the list. Large ones reserve
    memory. If it does not become free in time, each piece is sent when it is read, and a deletion raises `NotFound`.
    """
    segments = await message_format.split_around_contents(message)
    pieces = insert_contents(request.services.database, message, segments)
    size = compute_length(message, segments)
    with Reservation(request.services.content_budget) as reservation:
        try:
            if size > replies.SMALL_BYTES:
                await reservation.cover(size)
        except Overloaded:
            async for piece in pieces:
                yield piece
            return
        try:
            held = [piece async for piece in pieces]
        except NotFound:
            return
        for piece in held:
            yield piece


async def _read_up_to(limit: int, read: ReadPage, after: Position | None) -> list[WebMessage]:
    """Return at most `limit` messages, read in pages."""
    found: list[WebMessage] = []
    is_last = False
    while not is_last:
        page_size = min(PAGE, limit - len(found))
        page = await _read_next(read, page_size, after)
        found += page
        is_last = len(found) == limit or stored.is_last_page(page, page_size)
        after = paging.get_position(page[-1]) if page else after
    return found


async def _read_next(read: ReadPage, limit: int, after: Position | None) -> list[WebMessage]:
    # Yield to other tasks, since nothing else does on SQLite. A response to another caller takes several iterations.
    for _ in range(TURNS):
        await asyncio.sleep(0)
    page = await read(limit, after)
    if page and paging.get_position(page[-1]) == after:
        raise RuntimeError("the list does not advance")
    return page
