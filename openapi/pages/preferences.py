"""Distinguish people with a browser from programs."""

from collections.abc import Iterable

_JSON = ("application/problem+json", "application/json", "application/*", "*/*")
"""The media ranges of a problem, the most specific first."""


def prefers_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request accepts HTML rather than JSON, as browsers do (`Accept`, RFC 9110, section 12.5.1).

    Requests without the header, with `*/*` alone, or with the same weight for both prefer JSON.
    """
    accepted = b",".join(value for name, value in headers if name == b"accept").decode("latin-1").lower()
    weights = dict(map(_read_range, accepted.split(",")))
    json = next((weights[each] for each in _JSON if each in weights), 0.0)
    return weights.get("text/html", 0.0) > json


def _read_range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip() for part in text.split(";"))
    weight = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
    try:
        return media, float(weight)
    except ValueError:
        return media, 0.0
