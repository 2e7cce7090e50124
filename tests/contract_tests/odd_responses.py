"""Proxies that change responses at random by a seed: one within the contracts, one so that responses break them."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

UNNAMED = (
    *(("Date", value) for value in ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "", "0", "2026-01-01T00:00:00Z")),
    *(("Date", value) for value in ("Mon, 99 Foo 2026 99:99:99 GMT", "Thu, 01 Jan 2026 00:00:00 -0000", "\xff\xfe")),
    *(("Server", value) for value in ("", '\xe6\xf8\xe5 (odd; "server")', "x" * 4000, "=?utf-8?q?odd?=")),
    *(("Via", value) for value in ("1.1 proxy", "\x01"[:0], "1.0 a, 1.1 b (c, d)")),
    *(("Age", value) for value in ("-1", "soon", "99999999999999999999")),
    *(("Set-Cookie", value) for value in ("node=1; Path=/", "=; =", "odd", "n=1; Expires=never; Max-Age=x")),
    *(("Last-Modified", value) for value in ("never", "0")),
    *(("Expires", value) for value in ("-1", "0", "now")),
    *(("ETag", value) for value in ("odd", '"', 'W/"1"')),
    *(("Retry-After", value) for value in ("-1", "soon")),
    *(("Keep-Alive", value) for value in ("timeout=x", "")),
    *(("Link", value) for value in ("<https://example.com/>; rel=preconnect", '</style.css>; rel="preload"; as=style')),
    *(("Content-Language", value) for value in ("xx-odd", "")),
    *(("X-Odd", value) for value in ("\xff", "{}", "a" * 8000, "%", "{api-key}", "\t")),
    *(("Warning", value) for value in ('199 - "odd"', "x")),
    *(("Strict-Transport-Security", value) for value in ("max-age=x", "")),
)
"""Headers that no contract names, or to which any server may add values."""


def with_unspecified_headers(seed: int) -> Breakage:
    """Add headers that the contracts do not name, some of them several times."""
    chance = random.Random(seed)

    async def respond(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        added = chance.choices(UNNAMED, k=chance.randrange(8))
        # A client that received the only page must not be sent to another one.
        added = [(name, value) for name, value in added if name != "Link" or response.header("link") is None]
        headers = [(name.encode(), value.strip().encode("latin-1")) for name, value in added]
        all_headers = [*response.headers, *headers]
        chance.shuffle(all_headers)
        return replace(response, headers=all_headers)

    return respond


def with_violations(seed: int) -> Breakage:
    """Change the status, a header or the body of some responses so that they violate the contract."""
    chance = random.Random(seed)

    async def respond(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        # Requests before all checks must get valid responses, otherwise no check runs.
        is_preparation = request.path in {"/v1/abonnement", "/v1/beskedtype/tilladte", "/v1/abonnement/sync"}
        is_preparation |= request.header("idempotency-key") == '"'
        if is_preparation or chance.random() > 0.3:
            return response
        return chance.choice(CHANGES)(response, chance)

    return respond


def _change_json(
    change: Callable[[Any, random.Random], Any],
) -> Callable[[ServerResponse, random.Random], ServerResponse]:
    def change_response(response: ServerResponse, chance: random.Random) -> ServerResponse:
        value = response.json()
        return response if value is None else response.with_json(_change_at_random(value, change, chance))

    return change_response


def _change_at_random(value: Any, change: Callable[[Any, random.Random], Any], chance: random.Random) -> Any:
    """Change one place in a value."""
    if isinstance(value, dict) and value and chance.random() < 0.7:
        name = chance.choice(list(value))
        return {**value, name: _change_at_random(value[name], change, chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _change_at_random(value[at], change, chance), *value[at + 1 :]]
    return change(value, chance)


OTHERS: tuple[Any, ...] = (
    *(None, True, -1, 1e999, 10**30, "", "\ud800", "\0", "9999-99-99T99:99:99Z", "0000-00-00", "2026-01-01T00:00:00"),
    *([], [None], [[]], {}, {"": None}, "x" * 10_000, "+99:99", float("nan")),
)


def _choose_other(_value: Any, chance: random.Random) -> Any:
    return chance.choice(OTHERS)


def _replace_body(body: bytes) -> Callable[[ServerResponse, random.Random], ServerResponse]:
    return lambda response, _: response.with_body(body)


def _replace_header(name: str, value: str) -> Callable[[ServerResponse, random.Random], ServerResponse]:
    return lambda response, _: replace(
        response, headers=[*response.without(name).headers, (name.encode(), value.encode("latin-1"))]
    )


CHANGES: tuple[Callable[[ServerResponse, random.Random], ServerResponse], ...] = (
    *(_change_json(_choose_other),) * 8,
    *(
        _replace_body(body)
        for body in (b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b"1" * 5000, b'"\\ud800"', b"null", b"\0")
    ),
    _replace_body(json.dumps({"errors": [{"message": None}], "violations": [None], "status": 1}).encode()),
    *(
        _replace_header("location", value)
        for value in ("", "//", "http://[", "/webmessages/\xff", "/webmessages/" + "0" * 36)
    ),
    *(_replace_header("link", value) for value in ("<", "<//[>; rel=next", "<>; rel=next", "<\xff>; rel=next", ",;,")),
    *(_replace_header("content-type", value) for value in ("", ";", "application/json; charset=\xff", "text/html")),
    *(
        _replace_header("content-type", value)
        for value in ("application/json; charset=utf-16", "application/json; charset=nope")
    ),
    *(_replace_header("content-disposition", value) for value in ("", "filename*=", "attachment; filename*=x''%ff")),
    *(_replace_header(name, "\xff") for name in ("allow", "www-authenticate", "x-requestid", "x-request-id")),
    lambda given, chance: replace(given, status=chance.choice([200, 201, 202, 299, 302, 404, 418, 500, 503, 599])),
)
