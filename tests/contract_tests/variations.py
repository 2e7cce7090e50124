"""Servers that conform in other ways than ours, as the contracts allow: no check may report any of them."""

import gzip
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any
from urllib.parse import quote, unquote

from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

MESSAGES, SYNC = "/webmessages", "/v1/abonnement/sync"
FIXED_TEXTS = {
    "not a valid UUID",
    "must not be blank",
    "can not be empty or contain elements with empty keys or values",
    "element with key 'flowInstanceId' must have value of numeric type",
    "size must be between 3 and 128",
}
BEGINNINGS, WHOLE_TEXTS = {1003, 1014, 150000, 150002, 150101}, {150104, 150105, 150106}
"""Texts that the contract specifies, by error number."""
CURSOR = str.maketrans("0123456789abcdef", "f0e1d2c3b4a59687")
_turns = count()
BACK = {new: old for old, new in CURSOR.items()}


async def json_in_another_form(request: Request, forward: Forward) -> ServerResponse:
    """Use another order of names, white space and escapes, and another notation of the media type."""
    response = await forward(request)
    media_type = response.header("content-type") or ""
    value = response.json()
    if "json" not in media_type or value is None:
        return response
    text = "\r\n " + json.dumps(_reversed(value), indent="\t ") + "\n"
    return response.with_body(text.encode()).with_header("content-type", f'{media_type.title()} ;charset="UTF-8"')


async def texts_of_its_own(request: Request, forward: Forward) -> ServerResponse:
    """Use other texts wherever the contract specifies none, and no text where none is required."""
    response = await forward(request)
    value = response.json()
    if response.status < 400 or not isinstance(value, dict):
        return response
    for violation in value.get("violations", []):
        violation["message"] = violation["message"] if violation["message"] in FIXED_TEXTS else "Nope"
    for error in value.get("errors", []):
        opening = {1014: "Request validerer ikke, beklager"}.get(error["errorCode"], f"{error['message']}!")
        free = opening if error["errorCode"] in BEGINNINGS else "Øv"
        error["message"] = error["message"] if error["errorCode"] in WHOLE_TEXTS else free
    if not str(value.get("detail")).startswith("WebMessage with id"):
        value.pop("detail", None)
    return response.with_json(value)


async def links_of_its_own(request: Request, forward: Forward) -> ServerResponse:
    """Use absolute URLs, other links next to them, parameters in another order, and other cursors."""
    if request.path.startswith(MESSAGES):
        request = replace(
            request, query=re.sub(rb"(?<=after=)[0-9a-f]{46}$|(?<=after=)[0-9a-f]{46}(?=&)", _back, request.query)
        )
    response = await forward(request)
    link = response.header("link")
    if link is None:
        return response
    path, _, query = link.split(">")[0][1:].partition("?")
    if request.path.startswith(MESSAGES):
        query = re.sub("(?<=after=)[0-9a-f]+", lambda found: found[0].translate(CURSOR), query)
    turned = "&".join(reversed(query.split("&")))
    path = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), path)
    url = f"http://{request.header('host')}{path}?{turned}"
    return response.with_header(
        "link", f'<{url}&x=1>; rel=first; title="a, <b>; rel=next", <{url}>; title=b; REL="up Next"'
    )


async def headers_of_its_own(request: Request, forward: Forward) -> ServerResponse:
    """Add harmless headers, rename expected ones, omit the length, and close the connection after refusals."""
    response = await forward(request)
    headers = [(name.title(), value) for name, value in response.headers]
    for name, value in (("Server", "other/1.0"), ("Cache-Control", "no-store"), ("ETag", 'W/"1"'), ("Vary", "Origin")):
        headers.append((name.encode(), value.encode()))
    response = replace(response, headers=headers)
    if response.header("www-authenticate"):
        response = response.with_header("www-authenticate", 'Key in="apikey"')
    return response.with_header("connection", "close") if response.status >= 400 else response


async def compressed_where_it_may_be(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if response.status != 200 or "gzip" not in (request.header("accept-encoding") or "") or not response.body:
        return response
    return response.with_body(gzip.compress(response.body)).with_header("content-encoding", "gzip")


async def times_of_another_offset(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if b'"created"' not in response.body:
        return response
    value = response.json()
    for message in value if isinstance(value, list) else [value]:
        moment = datetime.fromisoformat(message["created"]).astimezone(timezone(timedelta(hours=5, minutes=30)))
        message["created"] = moment.isoformat(timespec="milliseconds")
    return response.with_json(value)


async def set_in_another_order(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if request.path != "/v1/abonnement" or response.status != 200:
        return response
    entries = value["abonnementer"]
    at = next(_turns) % (len(entries) or 1)
    return response.with_json({**value, "abonnementer": entries[at:] + entries[:at]})


async def methods_of_its_own(request: Request, forward: Forward) -> ServerResponse:
    """Respond to HEAD wherever GET is supported, and list it in Allow."""
    response = await forward(replace(request, method="GET") if request.method == "HEAD" else request)
    allowed = response.header("allow")
    if allowed is not None:
        more = [allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"]
        response = response.with_header("allow", " ,".join(more))
    return replace(response, body=b"") if request.method == "HEAD" else response


async def numbers_as_javascript_reads_them(request: Request, forward: Forward) -> ServerResponse:
    """Accept 1.0 as 1."""
    value = request.json()
    if request.path != SYNC or not isinstance(value, dict) or not isinstance(value.get("abonnementer"), list):
        return await forward(request)
    changed = False
    for entry in value["abonnementer"]:
        for name, number in entry.items() if isinstance(entry, dict) else ():
            if isinstance(number, float) and number.is_integer():
                entry[name], changed = int(number), True
    return await forward(request.with_json(value) if changed else request)


async def forms_in_any_order(request: Request, forward: Forward) -> ServerResponse:
    """Accept the message as the last part of a form."""
    first, *others = request.body.split(b"--XX\r\n")
    if first or not others or not others[-1].endswith(b"--XX--\r\n"):
        return await forward(request)
    others[-1] = others[-1].removesuffix(b"--XX--\r\n")
    parts = sorted(others, key=lambda part: b'name="message"' not in part)
    body = b"".join(b"--XX\r\n" + part for part in parts) + b"--XX--\r\n"
    headers = [pair for pair in request.headers if pair[0] != b"content-length"]
    return await forward(replace(request, body=body, headers=[*headers, (b"content-length", str(len(body)).encode())]))


async def names_of_files_in_the_plain_form(request: Request, forward: Forward) -> ServerResponse:
    """Use the plain notation of file names where it is sufficient."""
    response = await forward(request)
    disposition = response.header("content-disposition")
    if disposition is None:
        return response
    name = unquote(disposition.partition("filename*=UTF-8''")[2].partition(";")[0])
    is_plain = re.fullmatch("[A-Za-z0-9. ]+", name) is not None
    file_name = f'FileName="{name}"' if is_plain else f"filename*=utf-8'sv'{quote(name, safe='')}"
    return response.with_header("content-disposition", f"ATTACHMENT;{file_name}")


def _back(found: re.Match[bytes]) -> bytes:
    return found[0].decode().translate(BACK).encode()


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(inner) for name, inner in reversed(value.items())}
    return [_reversed(inner) for inner in value] if isinstance(value, list) else value


VARIATIONS: tuple[Breakage, ...] = (
    # The first variation is closest to the service.
    times_of_another_offset,
    set_in_another_order,
    texts_of_its_own,
    forms_in_any_order,
    numbers_as_javascript_reads_them,
    names_of_files_in_the_plain_form,
    links_of_its_own,
    json_in_another_form,
    methods_of_its_own,
    compressed_where_it_may_be,
    headers_of_its_own,
)


def together(*variations: Breakage) -> Breakage:
    """Apply all variations, one in front of the other."""

    async def response(request: Request, forward: Forward) -> ServerResponse:
        with_variation = forward
        for variation in variations:
            with_variation = _in_front(variation, with_variation)
        return await with_variation(request)

    return response


def _in_front(variation: Breakage, forward: Forward) -> Forward:
    async def response(request: Request) -> ServerResponse:
        return await variation(request, forward)

    return response
