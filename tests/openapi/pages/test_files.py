"""The files of pages: browsers revalidate them, and get them compressed."""

from collections.abc import Callable
from pathlib import Path

import httpx
from starlette.routing import Router

from openapi.pages.files import create_file_route

TEXT = b"body { color: black }\n" * 200


def get(run: Callable, source: Path | bytes, *requests: dict[str, str]) -> list[httpx.Response]:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Router([create_file_route("/a.css", source, "text/css")]))
        async with httpx.AsyncClient(transport=transport, base_url="http://pages.test") as client:
            return [await client.get("/a.css", headers=headers) for headers in requests]

    responses: list[httpx.Response] = run(send())
    return responses


def test_file_is_revalidated(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.css").write_bytes(TEXT)
    (first,) = get(run, tmp_path / "a.css", {})
    assert (first.status_code, first.content) == (200, TEXT)
    assert first.headers["content-type"] == "text/css"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cache-control"] == "no-cache"
    same, other = get(run, TEXT, {"if-none-match": first.headers["etag"]}, {"if-none-match": 'W/"0"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (other.status_code, other.content) == (200, TEXT)
    (changed,) = get(run, TEXT + b"\n", {"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200


def test_file_is_compressed_for_those_who_accept_it(run: Callable) -> None:
    zipped, again, plain, refused = get(
        run,
        TEXT,
        {"accept-encoding": "br, gzip"},
        {"accept-encoding": "GZIP"},
        {"accept-encoding": "identity"},
        {"accept-encoding": "gzip;q=0"},
    )
    for response in (zipped, again):
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) < len(TEXT) / 10
    for response in (plain, refused):
        assert "content-encoding" not in response.headers
    for response in (zipped, again, plain, refused):
        assert response.content == TEXT
        assert response.headers["vary"] == "Accept-Encoding"


def test_small_file_is_not_compressed(run: Callable) -> None:
    (response,) = get(run, b"a{}", {"accept-encoding": "gzip"})
    assert response.content == b"a{}"
    assert "content-encoding" not in response.headers
