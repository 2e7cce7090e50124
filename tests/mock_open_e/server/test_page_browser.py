"""The inbox page in a real browser, with messages that attempt to execute scripts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.browser import needs_browser, read_errors, running_browser, wait
from tests.mock_open_e.posting import post

pytestmark = needs_browser

HOSTILE = (
    "<script>window.harm = 1</script><img src=x onerror='window.harm = 2'><svg onload=window.harm=3>\r"
    "javascript:window.harm=4 data:text/html,<script>window.harm=5</script>\r"
    "see https://example.org/a?b=c, ftp://example.org/d and javascript://example.org/%0Awindow.harm=6"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, mock_url: str) -> Iterator[Any]:
    """Yield the browser. It leaves the page before its server stops, and its errors are cleared."""
    yield browser
    browser.get("about:blank")
    browser.get_log("browser")


def read_text(browser: Any, selector: str) -> str:
    return str(browser.execute_script(f"return document.querySelector('{selector}').innerText"))


def test_page_shows_a_case_as_the_citizen_sees_it_and_executes_nothing(page, mock_url):
    files = (
        "<attachments><encodedData>PHNjcmlwdD4=</encodedData><filename>&lt;img src=x onerror=harm&gt;.html</filename>"
        "<size>8</size></attachments>"
    )
    url = f"{mock_url}/s/browser"
    assert post(url, HOSTILE, files=files, user_id="<b>joe</b>").status_code == 200
    assert post(url, "second\nline").status_code == 200
    page.get(f"{url}/")
    assert wait(page, "document.querySelectorAll('article').length === 2")
    first = page.execute_script("return document.querySelector('article p').textContent")
    assert first == HOSTILE.replace("\r", "")
    assert page.execute_script("return document.querySelectorAll('article p br').length") == 2
    links = page.execute_script("return [...document.querySelectorAll('article p a')].map((each) => each.href)")
    assert links == ["https://example.org/a?b=c", "ftp://example.org/d"]
    for selector in ("main script", "main img", "main svg", "main b", "[onerror]"):
        assert page.execute_script(f"return document.querySelector('{selector}')") is None
    assert page.execute_script("return window.harm") is None
    assert "no carriage returns" in read_text(page, "article:nth-of-type(2) footer")
    assert read_errors(page) == []

    href = page.execute_script("return document.querySelector('article ul a').href")
    response = requests.get(href, timeout=5)
    assert response.content == b"<script>"
    assert response.headers["Content-Disposition"].startswith("attachment; ")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox")


def test_page_does_not_execute_an_inserted_script(page, mock_url):
    page.get(mock_url)
    assert wait(page, "document.querySelector('#faults button')")
    script = """
        const refused = [];
        const attempts = [
            () => { document.querySelector("h1").setAttribute("onclick", "window.harm = 7"); },
            () => { document.querySelector("h1").innerHTML = "<img src=x onerror='window.harm = 8'>"; },
            () => { location.href = "javascript:window.harm = 10"; },
        ];
        for (const attempt of attempts) {
            try { attempt(); } catch (error) { refused.push(error.name); }
        }
        document.querySelector("h1").click();
        return refused;
    """
    assert page.execute_script(script)[:2] == ["TypeError", "TypeError"]
    assert page.execute_script("return window.harm") is None
    assert read_errors(page)


def test_page_updates_itself_orders_faults_and_explains_rejections(page, mock_url, tmp_path):
    page.get(mock_url)
    assert wait(page, "document.querySelector('#faults button')")
    assert post(mock_url, "Your application has arrived.\r\nSee https://example.org/next").status_code == 200
    assert wait(page, "document.querySelectorAll('article').length === 1")
    requests.post(
        f"{mock_url}/control/cases/external/1068/messages",
        json={
            "message": "Thank you. When do I hear from you?",
            "attachments": [{"filename": "a", "base64Data": "YQ=="}],
        },
        timeout=5,
    ).raise_for_status()
    assert wait(page, "document.querySelector('article.owner')")
    page.execute_script(
        "[...document.querySelectorAll('#faults button')].find((b) => b.innerText === 'Http500').click()"
    )
    assert wait(page, "document.querySelector('#orders').innerText.startsWith('Ordered: Http500')")
    assert post(mock_url).status_code == 500
    assert wait(page, "document.querySelector('#orders').innerText === 'No faults ordered.'")
    assert post(mock_url, case=7).status_code == 500
    assert wait(page, "document.querySelector('details.refused[data-number=\"3\"]')")
    page.execute_script("document.querySelector('details.refused[data-number=\"3\"] summary').click()")
    assert "flowInstanceID>7<" in wait(page, "document.querySelector('details[data-number=\"3\"] pre')?.innerText")
    assert "the case 7, which is not known here" in read_text(page, "details.refused")
    assert page.execute_script("return document.querySelectorAll('details.refused').length") == 2
    picture = Path(os.environ.get("CI_ARTIFACTS_DIR", tmp_path)) / "inbox.png"
    assert page.save_screenshot(str(picture))
    assert picture.stat().st_size > 10_000
    page.execute_script("document.querySelector('#reset').click()")
    assert wait(page, "document.querySelectorAll('article, details').length === 0")
    assert read_errors(page) == []
