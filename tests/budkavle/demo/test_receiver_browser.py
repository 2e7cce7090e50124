"""The page of the demo's receiver in a browser."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from budkavle.demo.receiver import create_receiver
from budkavle.settings import Settings
from conftest import running_server
from tests.browser import is_too_wide, list_violations, needs_browser, read_errors, running_browser, show_as, wait
from tests.budkavle.demo.test_receiver import sign_headers
from tests.factories import NOW

pytestmark = needs_browser

HOSTILE = b'{"entitetId": "<img src=x onerror=harm>", "text": "<script>window.harm = 1</script>"}'


@pytest.fixture
def url() -> Iterator[str]:
    application = create_receiver(lambda: NOW, service="http://service.test")
    with running_server(Settings(), application, is_service=False) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_page_shows_events_as_they_come(browser: Any, url: str, width: int, scheme: str) -> None:
    show_as(browser, width=width, scheme=scheme)
    browser.get(url)
    assert browser.execute_script("return document.querySelector('#empty').innerText").startswith("Nothing has come")
    assert list_violations(browser) == []
    for body in (b'{"entitetId": 202}', HOSTILE):
        httpx.post(f"{url}/webhook", content=body, headers=sign_headers(body), trust_env=False, verify=False)
        wait(browser, f"document.querySelector('.event pre')?.textContent.includes({body.decode()[1:13]!r})")
    httpx.post(f"{url}/webhook", content=b"forged", trust_env=False, verify=False)
    wait(browser, "document.querySelectorAll('.event').length === 3")
    assert browser.execute_script("return document.querySelector('#count').innerText") == "3 events received"
    assert browser.execute_script("return document.querySelector('#empty').hidden")
    verdicts = browser.execute_script("return [...document.querySelectorAll('.event .badge')].map((e) => e.innerText)")
    assert verdicts == ["Rejected: no valid signature", "Signature verified, received before", "Signature verified"]
    browser.execute_script("document.querySelectorAll('.event details').forEach((each) => { each.open = true; })")
    assert browser.execute_script("return window.harm") is None
    assert list_violations(browser) == []
    assert not is_too_wide(browser)
    assert read_errors(browser) == []
    browser.find_element("id", "text").send_keys("FORGED")
    assert browser.execute_script("return document.querySelector('#found').innerText") == "1 of 3 found"
    assert browser.execute_script("return document.querySelectorAll('.event:not([hidden])').length") == 1
    assert list_violations(browser) == []
    browser.find_element("css selector", "#answer button").send_keys("\n")
    wait(browser, "document.querySelector('#answer').innerText.includes('refuses events')")
    httpx.post(f"{url}/webhook", content=HOSTILE, headers=sign_headers(HOSTILE), trust_env=False, verify=False)
    wait(browser, "document.querySelector('.event .badge').innerText.endsWith('received before, refused')")
    assert list_violations(browser) == []
    assert not is_too_wide(browser)
    # Otherwise it would call the receiver of the next test.
    browser.get("about:blank")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_address_of_events_has_a_page_for_people(browser: Any, url: str, width: int, scheme: str) -> None:
    show_as(browser, width=width, scheme=scheme)
    browser.get(f"{url}/webhook")
    assert browser.execute_script("return document.querySelector('h1').innerText") == "There is no page here"
    assert "/webhook, which accepts only POST" in browser.execute_script("return document.body.innerText")
    assert list_violations(browser) == []
    assert not is_too_wide(browser)
    assert [error for error in read_errors(browser) if "405" not in error] == []
    browser.execute_script("document.querySelector('.actions a').click()")
    assert wait(browser, "document.querySelector('#count')?.innerText") == "0 events received"
    browser.get("about:blank")
