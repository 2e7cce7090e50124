"""The pages of the contracts in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import running_service
from tests.browser import needs_browser, read_errors, running_browser, wait

pytestmark = needs_browser

OPERATION = "document.querySelector('#operations-WebMessages-createWebMessage"
KEY = f"""{OPERATION} tr[data-param-name="Idempotency-Key"] input')"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with running_browser(tmp_path) as browser:
        yield browser


def read_offered_key(browser: Any) -> str:
    """Return the key that the form of the operation contains after it is opened."""
    browser.refresh()
    wait(browser, f"{OPERATION} .try-out__btn')")
    browser.execute_script(f"{OPERATION} .try-out__btn').click()")
    key: str = wait(browser, f"{KEY} && {KEY}.value")
    return key


def test_page_offers_a_new_idempotency_key_for_each_load(sqlite_url: str, browser: Any) -> None:
    with running_service(database_url=sqlite_url) as service:
        browser.get(f"{service.url}/docs/web-messages#/WebMessages/createWebMessage")
        keys = {read_offered_key(browser) for _ in range(2)}
        assert len(keys) == 2
        assert all(len(key) == 32 for key in keys)
        assert read_errors(browser) == []
