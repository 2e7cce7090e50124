"""Browsers prefer HTML; programs get JSON."""

import pytest

from openapi.pages.preferences import prefers_html

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accepted",
    [
        [CHROMIUM],
        [FIREFOX],
        ["text/html"],
        ["Text/HTML; q=1.0, application/json; q=0.9"],
        ["application/json;q=0.5", "text/html"],
        ["text/html, */*;q=0"],
    ],
)
def test_browser_prefers_html(accepted: list[str]) -> None:
    assert prefers_html((b"accept", value.encode()) for value in accepted)


@pytest.mark.parametrize(
    "accepted",
    [
        [],
        [""],
        ["*/*"],
        ["application/json"],
        ["application/problem+json"],
        ["text/*"],
        ["application/json, text/html"],
        ["application/json, text/html;q=0.9"],
        ["application/problem+json, application/json;q=0.1, text/html;q=0.9"],
        ["application/*, text/html;q=0.9"],
        ["text/html, */*"],
        ["text/html;q=0"],
        ["text/html;q=x"],
        ["text/html;q=nan"],
        ["text/htmlx, ;;,,q="],
        ["\xff"],
    ],
)
def test_program_does_not_prefer_html(accepted: list[str]) -> None:
    assert not prefers_html((b"accept", value.encode("latin-1")) for value in accepted)
