"""The pages of the inbox in a real browser: by keyboard, on a phone and a desktop, with messages that attempt harm."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from mock_open_e import MockOpenE
from tests.browser import (
    COLOUR_RULES,
    RULES,
    is_too_wide,
    list_violations,
    needs_browser,
    press_tab,
    read_errors,
    running_browser,
    show_as,
    wait,
)
from tests.mock_open_e.posting import list_texts, post
from tests.mock_servers import running_mock

pytestmark = needs_browser

HOSTILE = (
    "<script>window.harm = 1</script><img src=x onerror='window.harm = 2'><svg onload=window.harm=3>\r"
    "javascript:window.harm=4 data:text/html,<script>window.harm=5</script>\r"
    "see https://example.org/a?b=c, ftp://example.org/d and javascript://example.org/%0Awindow.harm=6"
)
FILE = "<attachments><encodedData>aGVq</encodedData><filename>a.pdf</filename><size>3</size></attachments>"

each_width = pytest.mark.parametrize("width", [360, 1280])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with running_mock(MockOpenE(cases={7, 1068})) as url:
        yield url


@pytest.fixture
def url(server_url: str, request: pytest.FixtureRequest) -> str:
    """Return the address of a mock of the test's own."""
    return f"{server_url}/s/{abs(hash(request.node.name))}"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Yield the browser as a desktop. It leaves the page after the test, and its errors are cleared."""
    show_as(browser)
    yield browser
    browser.get("about:blank")
    browser.get_log("browser")


def read_text(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0]).innerText", selector))


def is_focused(page: Any, selector: str) -> bool:
    return bool(page.execute_script("return document.activeElement.matches(arguments[0])", selector))


def is_in_sight(page: Any, selector: str) -> bool:
    box = page.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)
    return bool(0 <= box["top"] < box["bottom"] <= 800)


def type_keys(page: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def go_to(page: Any, selector: str, *, back: bool = False) -> None:
    """Press Tab until the element has the focus. With `back`, press Shift and Tab."""
    if not is_focused(page, selector):
        press_tab(page, "element.matches(value)", selector, back=back)


def plant(url: str, text: str, case: int = 1068, **body: Any) -> None:
    answer = requests.post(f"{url}/control/cases/external/{case}/messages", json={"message": text, **body}, timeout=5)
    answer.raise_for_status()


def read_back(url: str, case: int) -> str:
    return requests.get(f"{url}/external/api/messageapi/getmessages/flowinstance/{case}", timeout=5).text


@each_width
def test_keyboard_makes_the_next_call_of_one_case_fail(page, url, width):
    show_as(page, width=width)
    page.get(f"{url}/faults")
    assert wait(page, "document.querySelector('#state').innerText.includes('no planted fault')")
    go_to(page, "#fault")
    type_keys(page, "Server error")
    assert "HTTP 500 with an HTML page" in read_text(page, "#explanation")
    assert "Not stored" in read_text(page, "#explanation")
    go_to(page, "#plant [name=flowInstanceID]")
    type_keys(page, "7")
    assert read_text(page, "#summary") == "The next call on case 7: server error."
    type_keys(page, "\n")
    assert wait(page, "document.querySelector('.order .which')?.innerText === 'The next call on case 7.'")
    assert is_focused(page, "#plant [name=flowInstanceID]")
    assert read_text(page, "#plant-outcome") == "Planted: Server error. The next call on case 7."
    assert is_in_sight(page, "#plant-outcome")
    assert [post(url, case=case).status_code for case in (1068, 7, 7)] == [200, 500, 200]
    assert wait(page, "document.querySelectorAll('.order').length === 0")
    assert read_errors(page) == []


def test_planted_faults_are_listed_and_removed_by_keyboard(page, url):
    for case in (7, 1068):
        requests.post(f"{url}/control/faults", json={"fault": "Http500", "flowInstanceID": case, "times": 2}, timeout=5)
    requests.post(f"{url}/control/faults", json={"fault": "Slow", "times": None, "every": 3, "seconds": 9}, timeout=5)
    page.get(f"{url}/faults")
    assert wait(page, "document.querySelectorAll('.order').length === 3")
    assert read_text(page, ".order:nth-child(1) .which") == "The next 2 calls on case 7."
    assert read_text(page, ".order:nth-child(3) .which") == "Every 3rd call. 9 seconds each."
    go_to(page, ".order:nth-child(1) button")
    assert post(url, case=7).status_code == 500
    assert wait(page, "document.querySelector('.order .failed').innerText === '1 call so far'")
    assert is_focused(page, ".order:nth-child(1) button")
    type_keys(page, " ")
    assert wait(page, "document.querySelectorAll('.order').length === 2")
    assert is_focused(page, ".order:nth-child(1) button")
    assert [post(url, case=case).status_code for case in (7, 1068)] == [200, 500]
    go_to(page, "#remove-all")
    type_keys(page, " ")
    assert wait(page, "!document.querySelector('#no-faults').hidden")
    assert is_focused(page, "#pending-title")
    assert post(url, case=1068).status_code == 200


@each_width
def test_keyboard_plants_and_answers_a_message(page, url, width, tmp_path):
    (tmp_path / "Drawing.pdf").write_bytes(b"%PDF")
    show_as(page, width=width)
    page.get(f"{url}/")
    assert wait(page, "document.querySelector('#state').innerText.includes('0 messages')")
    go_to(page, "#plant-case")
    type_keys(page, "1068")
    go_to(page, "#plant-text")
    type_keys(page, "When do I hear from you?\nI wait.")
    page.find_element("id", "plant-files").send_keys(str(tmp_path / "Drawing.pdf"))
    go_to(page, "#plant-submit")
    type_keys(page, " ")
    assert wait(page, "document.querySelector('article.owner')")
    assert read_text(page, "article .text") == "When do I hear from you?\nI wait."
    assert "<message>When do I hear from you?&#13;\nI wait.</message>" in read_back(url, 1068)
    assert "Drawing.pdf (4 bytes)" in read_text(page, "article .files")
    assert page.execute_script("return document.querySelector('#plant-text').value") == ""
    go_to(page, "article.owner button", back=True)
    type_keys(page, " ")
    assert is_focused(page, "#plant-text")
    assert read_text(page, "#plant-title") == "Answer message 1"
    assert read_text(page, "#plant-outcome") == ""
    type_keys(page, "Next week.")
    go_to(page, "#plant-submit")
    type_keys(page, " ")
    assert wait(page, "document.querySelector('article.manager')")
    assert read_text(page, "#plant-title") == "Plant a message"
    assert read_text(page, "#plant-outcome") == "Message 1 is answered with message 2 on case 1068."
    assert is_focused(page, "#plant-submit")
    assert is_in_sight(page, "#plant-outcome")
    assert "<postedByManager>true</postedByManager>" in read_back(url, 1068)
    go_to(page, ".case-links a[href='#plant-title']", back=True)
    type_keys(page, "\n")
    assert is_focused(page, "#plant-title")
    assert read_errors(page) == []


def test_fault_of_a_planted_message_is_explained(page, url):
    page.get(f"{url}/")
    assert wait(page, "document.querySelector('#state').innerText.includes('0 messages')")
    go_to(page, "#plant-case")
    type_keys(page, "8")
    go_to(page, "#plant-text")
    type_keys(page, "Hello")
    go_to(page, "#plant-submit")
    type_keys(page, " ")
    assert wait(page, "!document.querySelector('#plant-fault').hidden")
    assert read_text(page, "#plant-fault") == "The mock refused this: the external instance has no case 8."
    assert page.execute_script("return document.querySelector('#plant-text').value") == "Hello"


@each_width
def test_keyboard_searches_messages(page, url, width):
    from selenium.webdriver.common.keys import Keys

    plant(url, "About the roof")
    plant(url, "About the garage")
    plant(url, "Another case", case=7)
    show_as(page, width=width)
    page.get(f"{url}/")
    assert wait(page, "document.querySelectorAll('#cases a').length === 4")
    go_to(page, "#search-text")
    type_keys(page, "GARAGE", Keys.ENTER)
    assert wait(page, "document.querySelector('#search-result').innerText === '1 case found'")
    assert is_focused(page, "#search-text")
    assert "1 of 2 messages found" in read_text(page, "#cases")
    assert read_text(page, "article .text") == "About the garage"
    assert read_text(page, "#no-messages") == "1 message of this case does not match the search."
    page.refresh()
    assert wait(page, "document.querySelector('#search-result').innerText === '1 case found'")
    go_to(page, "#search button[type=reset]")
    type_keys(page, " ")
    assert wait(page, "document.querySelectorAll('#cases a').length === 4")
    assert page.execute_script("return [document.querySelector('#search-text').value, location.search]") == ["", ""]
    assert read_text(page, "#case-title") == "Case 1068, external"
    go_to(page, "#cases a[data-name='external/7']")
    type_keys(page, Keys.ENTER)
    assert wait(page, "document.activeElement.id === 'case-title'")
    assert read_text(page, "article .text") == "Another case"


def test_keyboard_searches_calls_and_reads_why_one_was_rejected(page, url):
    from selenium.webdriver.common.keys import Keys

    for case in (7, 8, 1068):
        post(url, "Hello", case=case, files=FILE)
    page.get(f"{url}/calls")
    assert wait(page, "document.querySelectorAll('.call').length === 3")
    go_to(page, "#search-case")
    type_keys(page, "8", Keys.ENTER)
    assert wait(page, "document.querySelectorAll('.call').length === 1")
    go_to(page, ".call summary")
    assert "Rejected, HTTP 500" in read_text(page, ".call summary")
    type_keys(page, Keys.ENTER)
    assert wait(page, "document.querySelectorAll('.call .xml').length === 2")
    assert "Why it was rejected: the case 8, which is not known here." in read_text(page, ".call .notice")
    assert "\n      <flowInstanceID>8</flowInstanceID>\n" in read_text(page, ".call .xml")
    assert "FlowInstanceNotFoundFault" in read_text(page, ".call pre:nth-of-type(2)")
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.execute_cdp_cmd("Browser.grantPermissions", permissions)
    go_to(page, ".call .part button")
    type_keys(page, " ")
    assert wait(page, "document.querySelector('.call .part button').innerText === 'Copied'")
    copied = page.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == requests.get(f"{url}/control/journal/2", timeout=5).json()["request"]["text"]
    assert read_errors(page) == []


@each_width
def test_reset_asks_for_confirmation(page, url, width):
    plant(url, "Hello")
    show_as(page, width=width)
    page.get(f"{url}/")
    assert wait(page, "document.querySelectorAll('article').length === 1")
    go_to(page, "#reset")
    type_keys(page, " ")
    assert is_focused(page, "#reset-cancel")
    assert read_text(page, "#reset-text").startswith("This deletes 1 message, 0 calls and 0 planted faults")
    assert list_violations(page) == []
    type_keys(page, " ")
    assert wait(page, "!document.querySelector('dialog').open")
    assert is_focused(page, "#reset")
    assert "Hello" in read_back(url, 1068)
    type_keys(page, " ")
    go_to(page, "#reset-confirm")
    type_keys(page, " ")
    assert wait(page, "document.querySelectorAll('article').length === 0")
    assert "Hello" not in read_back(url, 1068)
    assert wait(page, "document.querySelector('#announcement').innerText")


@each_width
def test_updates_keep_focus_position_and_drafts(page, url, width):
    from selenium.webdriver.common.keys import Keys

    for number in range(12):
        post(url, f"Message {number}")
    show_as(page, width=width)
    page.get(f"{url}/calls")
    assert wait(page, "document.querySelectorAll('.call').length === 12")
    go_to(page, "li[data-key='4'] summary")
    type_keys(page, Keys.ENTER)
    assert wait(page, "document.querySelectorAll('.call .xml').length === 2")
    go_to(page, ".call .part button")
    place = "Math.round(document.activeElement.getBoundingClientRect().top)"
    before = page.execute_script(f"return {place}")
    for _ in range(3):
        post(url, case=8)
    assert wait(page, "document.querySelectorAll('.call').length === 15")
    assert is_focused(page, "li[data-key='4'] .part button")
    assert abs(page.execute_script(f"return {place}") - before) <= 2
    assert wait(page, "document.querySelector('#announcement').innerText.includes('rejected')")
    assert page.execute_script("return document.querySelector('#announcement').getAttribute('role')") == "status"

    page.get(f"{url}/")
    assert wait(page, "document.querySelectorAll('article').length === 12")
    go_to(page, "#plant-text")
    type_keys(page, "A draft", Keys.ARROW_LEFT)
    before = page.execute_script(f"return {place}")
    post(url, "Another")
    assert wait(page, "document.querySelectorAll('article').length === 13")
    assert is_focused(page, "#plant-text")
    type_keys(page, "!")
    assert page.execute_script("return document.querySelector('#plant-text').value") == "A draf!t"
    go_to(page, "#cases a[data-name='internal/7']", back=True)
    post(url, case=7, instance="internal")
    assert wait(page, "document.querySelector('#cases a').dataset.name === 'internal/7'")
    assert is_focused(page, "#cases a[data-name='internal/7']")
    assert read_text(page, "#case-title") == "Case 1068, external"
    assert read_errors(page) == []


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("", "document.querySelectorAll('article').length === 2"),
        ("calls", "document.querySelectorAll('.call').length === 2"),
        ("faults", "document.querySelectorAll('.order').length === 1"),
        ("conditions", "document.querySelector('#external-taken').value === '0'"),
        ("docs", "document.querySelector('.opblock-summary-control')"),
    ],
)
def test_pages_are_accessible_and_fit(page, url, path, ready):
    post(url, "Your application has arrived.\r\nSee https://example.org/" + "long" * 30, files=FILE)
    plant(url, "When do I hear from you?", attachments=[{"filename": "a" * 200, "base64Data": "YQ=="}])
    post(url, case=8)
    requests.post(f"{url}/control/faults", json={"fault": "Slow", "times": None}, timeout=5)
    page.get(f"{url}/{path}")
    assert wait(page, ready)
    page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    if path == "calls":
        assert wait(page, "document.querySelectorAll('.xml').length === 4")
    for width in (1280, 360):
        for scheme, rules in (("light", RULES), ("dark", COLOUR_RULES)):
            show_as(page, width=width, scheme=scheme)
            assert wait(page, "document.getAnimations().length === 0")
            assert list_violations(page, rules) == []
            assert not is_too_wide(page)
    assert read_errors(page) == []


def test_keyboard_sets_and_restores_the_conditions_of_an_instance(page, url):
    page.get(f"{url}/conditions")
    assert wait(page, "document.querySelector('#internal-taken').value === '0'")
    go_to(page, "#internal-zone")
    type_keys(page, "Europe/Stokholm")
    go_to(page, "#internal-taken")
    type_keys(page, "7")
    post(url)
    assert wait(page, "document.querySelector('#announcement').innerText.includes('new call')")
    assert page.execute_script("return document.querySelector('#internal-zone').value") == "Europe/Stokholm"
    go_to(page, "#conditions-internal .primary")
    type_keys(page, " ")
    assert wait(page, "!document.querySelector('#conditions-internal [role=alert]').hidden")
    assert "timeZone must be an IANA time zone" in read_text(page, "#conditions-internal [role=alert]")
    page.execute_script("document.querySelector('#internal-zone').value = 'Europe/Stockholm'")
    type_keys(page, " ")
    assert wait(page, "document.querySelector('#announcement').innerText.includes('internal instance are set')")
    conditions = requests.get(f"{url}/control/conditions/internal", timeout=5).json()
    assert conditions == {"clockSeconds": 0, "timeZone": "Europe/Stockholm", "staleSeconds": 0, "takenIds": 7}
    assert page.execute_script("return document.querySelector('#conditions-internal [role=alert]').hidden")
    assert requests.get(f"{url}/control/conditions/external", timeout=5).json()["takenIds"] == 0
    go_to(page, "#conditions-internal [type=reset]")
    type_keys(page, " ")
    assert wait(page, "document.querySelector('#internal-taken').value === '0'")
    assert requests.get(f"{url}/control/conditions/internal", timeout=5).json()["takenIds"] == 0


@each_width
def test_docs_page_calls_the_control_api(page, url, width):
    from selenium.webdriver.common.keys import Keys

    show_as(page, width=width)
    page.get(f"{url}/docs")
    block = "[id='operations-Faults-orderFault']"
    assert wait(page, f"""document.querySelector("{block} .opblock-summary-control")""")
    go_to(page, f"{block} .opblock-summary-control")
    type_keys(page, Keys.ENTER)
    assert wait(page, f"""document.querySelector("{block} .try-out__btn")""")
    go_to(page, f"{block} .try-out__btn")
    type_keys(page, Keys.ENTER)
    go_to(page, f"{block} .execute")
    type_keys(page, Keys.ENTER)
    response = f"""document.querySelector("{block} .live-responses-table .response")"""
    assert wait(page, f"{response}?.innerText").startswith("201")
    assert wait(page, "document.querySelector('[role=status]').textContent") == "Response 201"
    assert not is_too_wide(page)
    orders = requests.get(f"{url}/control/faults", timeout=5).json()
    assert [(order["fault"], order["times"]) for order in orders] == [("Http500", 2)]
    assert read_errors(page) == []


def test_page_shows_a_case_as_the_citizen_sees_it_and_executes_nothing(page, url):
    files = (
        "<attachments><encodedData>PHNjcmlwdD4=</encodedData><filename>&lt;img src=x onerror=harm&gt;.html</filename>"
        "<size>8</size></attachments>"
    )
    assert post(url, HOSTILE, files=files, user_id="<b>joe</b>").status_code == 200
    assert post(url, "second\nline").status_code == 200
    page.get(f"{url}/")
    assert wait(page, "document.querySelectorAll('article').length === 2")
    first = page.execute_script("return document.querySelector('article .text').textContent")
    assert first == HOSTILE.replace("\r", "")
    assert page.execute_script("return document.querySelectorAll('article .text br').length") == 2
    links = page.execute_script("return [...document.querySelectorAll('article .text a')].map((each) => each.href)")
    assert links == ["https://example.org/a?b=c", "ftp://example.org/d"]
    for selector in ("article script", "article img", "article svg", "article b b", "[onerror]"):
        assert page.execute_script(f"return document.querySelector('{selector}')") is None
    assert page.execute_script("return window.harm") is None
    assert "no carriage returns" in read_text(page, "li:nth-of-type(2) article")
    href = page.execute_script("return document.querySelector('article .files a').href")
    page.get(f"{url}/calls")
    assert wait(page, "document.querySelectorAll('.call').length === 2")
    page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert wait(page, "document.querySelectorAll('.xml').length === 4")
    assert page.execute_script("return document.querySelector('.call script, .call img, .call svg')") is None
    assert page.execute_script("return window.harm") is None
    assert read_errors(page) == []

    response = requests.get(href, timeout=5)
    assert response.content == b"<script>"
    assert response.headers["Content-Disposition"].startswith("attachment; ")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox")


def test_page_does_not_execute_an_inserted_script(page, url):
    page.get(f"{url}/")
    assert wait(page, "document.querySelector('#state').innerText.includes('messages')")
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


def test_page_reports_that_the_mock_is_gone_and_continues(page, url):
    page.get(f"{url}/")
    assert wait(page, "document.querySelector('#state').innerText.includes('0 messages')")
    page.execute_cdp_cmd("Network.enable", {})
    gone = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.execute_cdp_cmd("Network.emulateNetworkConditions", gone)
    post(url, "Hello")
    assert wait(page, "!document.querySelector('#problem').hidden")
    assert read_text(page, "#problem").startswith("The mock does not answer.")
    page.execute_cdp_cmd("Network.emulateNetworkConditions", {**gone, "offline": False})
    assert wait(page, "document.querySelector('article .text')?.innerText === 'Hello'")
    assert page.execute_script("return document.querySelector('#problem').hidden")
    assert list_texts(url) == ["Hello"]


@each_width
def test_unknown_path_has_a_page(page: Any, url: str, width: int) -> None:
    show_as(page, width=width)
    page.get(f"{url}/nothing/here")
    assert read_text(page, "h1") == "The mock has no such page"
    assert list_violations(page) == []
    assert not is_too_wide(page)
    page.execute_script("document.querySelector('.actions .primary').click()")
    wait(page, "document.querySelector('h1').innerText === 'Messages'")
    assert [error for error in read_errors(page) if "404" not in error] == []
