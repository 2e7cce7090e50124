"""The pages of the contracts in a browser, with the demo of `budkavle dev`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

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
from tests.processes import REPOSITORY, budkavle, running

pytestmark = needs_browser

SERVED = ("web-messages", "subscriptions", "operations")
DESCRIBED = ("deliveries", "operator-events")
METHODS = {"get", "post", "put", "delete"}
OPENERS = "document.querySelectorAll('.opblock-summary-control')"
CREATE = "document.querySelector('#operations-WebMessages-createWebMessage"
CHOOSE_MULTIPART = f"""
    const select = {CREATE} select.content-type');
    select.value = "multipart/form-data";
    select.dispatchEvent(new Event("change", {{bubbles: true}}));
"""
KEY = f"""{CREATE} tr[data-param-name="Idempotency-Key"] input')"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the demo, and yield the address of the service."""
    ports = ("--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0")
    with running(*budkavle("dev", *ports), folder=tmp_path_factory.mktemp("demo")) as process:
        yield process.wait_for("API pages:").removesuffix("/docs")


@pytest.fixture(autouse=True)
def _window(browser: Any) -> None:
    show_as(browser)
    browser.get("about:blank")
    read_errors(browser)


def load_page(browser: Any, url: str, name: str) -> int:
    """Load the page of a contract, and return the number of its operations."""
    browser.get(f"{url}/docs/{name}")
    wait(browser, f"{OPENERS}.length")
    count: int = browser.execute_script(f"return {OPENERS}.length")
    return count


def open_form(browser: Any, number: int) -> None:
    """Open the form of the operation at this place."""
    block = f"document.querySelectorAll('.opblock')[{number}]"
    browser.execute_script(f"{OPENERS}[{number}].click()")
    wait(browser, f"{block}.querySelector('.try-out__btn')")
    browser.execute_script(f"{block}.querySelector('.try-out__btn').click()")
    wait(browser, f"{block}.querySelector('.execute')")


def execute(browser: Any, number: int) -> str:
    """Send the form of the operation at this place as it is, and return what the page shows of the response."""
    block = f"document.querySelectorAll('.opblock')[{number}]"
    browser.execute_script(f"{block}.querySelector('.execute').click()")
    shown: str = wait(browser, f"{block}.querySelector('.live-responses-table .response')?.innerText")
    return shown


@pytest.mark.parametrize("name", SERVED)
def test_every_example_works_at_the_first_click(browser: Any, url: str, name: str) -> None:
    """The forms offer the examples of the contract, without cursors and request ids."""
    statuses, offered = [], []
    for number in range(load_page(browser, url, name)):
        open_form(browser, number)
        rows = f"[...document.querySelectorAll('.opblock')[{number}].querySelectorAll('tr[data-param-name]')]"
        wait(browser, f"{rows}.every((row) => row.querySelector('input, select'))")
        offered += browser.execute_script(
            f"return {rows}.map((row) => [row.dataset.paramName, row.querySelector('input, select').value])"
        )
        statuses.append(execute(browser, number)[:3])
        # The page is faster with few open forms.
        browser.execute_script(f"{OPENERS}[{number}].click()")
    assert len(statuses) >= 4
    assert all(status.startswith("2") for status in statuses), statuses
    assert read_errors(browser) == []

    parameters = list_parameters(name)
    assert sorted(name for name, _ in offered) == sorted(each["name"] for each in parameters)
    examples = {each["name"]: str(each["example"]) for each in parameters if isinstance(each.get("example"), str)}
    for parameter, value in offered:
        if parameter == "after" or parameter.lower() in {"x-request-id", "x-requestid"}:
            assert value == ""
        elif parameter in examples and parameter not in {"Idempotency-Key", "id"}:
            assert value == examples[parameter]


def list_parameters(name: str) -> list[dict[str, Any]]:
    """Return the parameters of all operations of a contract."""
    contract = yaml.safe_load((REPOSITORY / "spec" / f"{name}.yaml").read_text())
    shared = contract["components"].get("parameters", {})
    return [
        shared[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each
        for path in contract["paths"].values()
        for method, operation in path.items()
        if method in METHODS
        for each in (*path.get("parameters", ()), *operation.get("parameters", ()))
    ]


def test_multipart_form_sends_the_chosen_files_with_a_new_key_for_each_load(
    browser: Any, url: str, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By

    files = [tmp_path / "hello.txt", tmp_path / "smörgås.txt"]
    for file in files:
        file.write_text("Hello")
    keys = set()
    browser.get(f"{url}/docs/web-messages#/WebMessages/createWebMessage")
    # None: a field that is added, and left without a file.
    for number, fields in enumerate(([], [*files], [None], [None, *files, None])):
        if number:
            # The next request has another key, or it would be a repetition.
            browser.refresh()
        # The page scrolls to the operation of its address, so that a click of the mouse could miss.
        wait(browser, f"{CREATE} .try-out__btn')")
        browser.execute_script(f"{CREATE} .try-out__btn').click()")
        keys.add(wait(browser, f"{KEY}?.value"))
        form = browser.find_element(By.ID, "operations-WebMessages-createWebMessage")
        browser.execute_script(CHOOSE_MULTIPART)
        sent = [file for file in fields if file]
        wait(browser, f"""{CREATE} tr[data-property-name="message"] textarea')""")
        for place, file in enumerate(fields):
            browser.execute_script(f"const add = {CREATE} .json-schema-form-item-add'); add.focus(); add.click()")
            wait(browser, f"document.activeElement.matches('[type=file][aria-label=\"File {place + 1}\"]')")
            if file:
                form.find_elements(By.CSS_SELECTOR, "input[type=file]")[place].send_keys(str(file))
        if number in {0, 3}:
            # The last form has all that the others have.
            assert list_violations(browser) == []
        shown = execute(browser, 0)
        assert shown.startswith("201"), shown
        (path,) = re.findall("^ ?location: (.*)$", shown, re.MULTILINE)
        message = httpx.get(url + path.strip(), headers={"apikey": "demo"}, trust_env=False, verify=False).json()
        assert message["message"] == "This is a message"
        assert [each["fileName"] for each in message.get("attachments", ())] == [file.name for file in sent]
    assert read_errors(browser) == []
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize("name", DESCRIBED)
def test_page_of_an_api_that_others_provide_offers_no_call(browser: Any, url: str, name: str) -> None:
    assert load_page(browser, url, name) == 1
    browser.execute_script(f"{OPENERS}[0].click()")
    wait(browser, "document.querySelector('.opblock.is-open .responses-wrapper')")
    assert browser.execute_script("return document.querySelectorAll('.try-out__btn, .execute').length") == 0
    assert "cannot be tried here" in browser.execute_script("return document.querySelector('.notice').innerText")
    assert list_violations(browser) == []
    assert read_errors(browser) == []


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_are_accessible_and_fit_the_window(browser: Any, url: str, width: int) -> None:
    for path in ("/", "/docs", "/nothing"):
        browser.get(url + path)
        for scheme, rules in (("light", RULES), ("dark", COLOUR_RULES)):
            show_as(browser, width=width, scheme=scheme)
            assert (path, scheme, list_violations(browser, rules)) == (path, scheme, [])
            assert not is_too_wide(browser)
        assert [error for error in read_errors(browser) if path != "/nothing" or "404" not in error] == []


@pytest.mark.parametrize(("name", "width", "scheme"), [("web-messages", 360, "dark"), ("subscriptions", 1280, "light")])
def test_open_forms_and_responses_are_accessible(browser: Any, url: str, name: str, width: int, scheme: str) -> None:
    show_as(browser, width=width, scheme=scheme)
    load_page(browser, url, name)
    for number in range(2):
        open_form(browser, number)
    assert execute(browser, 1).startswith("200")
    assert list_violations(browser) == []
    assert not is_too_wide(browser)
    assert read_errors(browser) == []


def test_schemas_and_summaries_are_readable_on_a_phone(browser: Any, url: str) -> None:
    show_as(browser, width=360, scheme="dark")
    load_page(browser, url, "web-messages")
    summary = "document.querySelector('.opblock-summary-description')"
    assert browser.execute_script(f"return {summary}.innerText") == "Create web message"
    assert browser.execute_script(f"return {summary}.clientWidth > 100")
    browser.execute_script(f"{OPENERS}[0].click()")
    wait(browser, "document.querySelector('.responses-table .tab')")
    browser.execute_script("document.querySelectorAll('.tab li:last-child button').forEach((tab) => tab.click())")
    wait(browser, "document.querySelector('.responses-table .model-box-control')")
    browser.execute_script("document.querySelectorAll('.opblock .model-box-control').forEach((box) => box.click())")
    assert list_violations(browser) == []
    cut_off = (
        "[...document.querySelectorAll('.model-box *')].filter((e) => e.getBoundingClientRect().right > 360).length"
    )
    assert browser.execute_script(f"return {cut_off}") == 0
    narrowest = "Math.min(...[...document.querySelectorAll('td:has(.model-box)')].map((e) => e.clientWidth))"
    assert browser.execute_script(f"return {narrowest}") > 200


def test_operation_is_called_with_the_keyboard_alone(browser: Any, url: str) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> None:
        ActionChains(browser).send_keys(key).perform()

    def go_to(selector: str) -> None:
        """Press Tab until an element that this selector matches has the focus, which must be visible."""
        press_tab(browser, "element.matches(value)", selector, limit=40)
        assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"

    browser.get(f"{url}/docs/web-messages")
    wait(browser, f"{OPENERS}.length")
    go_to(".skip")
    press(Keys.ENTER)
    wait(browser, "document.activeElement.matches('main')")
    go_to(".btn.authorize")
    press(Keys.ENTER)
    wait(browser, "document.activeElement.closest('.modal-ux')")
    assert list_violations(browser) == []
    press(Keys.ESCAPE)
    wait(browser, "!document.querySelector('.modal-ux')")
    go_to(".opblock-get .opblock-summary-control")
    press(Keys.ENTER)
    go_to(".opblock-get .copy-to-clipboard button")
    wait(browser, "document.activeElement.clientWidth >= 20")
    wait(browser, "document.querySelector('.try-out__btn')")
    go_to(".try-out__btn")
    press(Keys.ENTER)
    wait(browser, "document.querySelector('.execute')")
    go_to(".execute")
    press(Keys.ENTER)
    assert wait(browser, "document.querySelector('.live-responses-table .response')?.innerText").startswith("200")
    assert wait(browser, "document.querySelector('[role=status]').textContent") == "Response 200"
    assert browser.execute_script("return document.activeElement.innerText") == "Server response"
    status = "document.querySelector('.live-responses-table tbody .response-col_status')"
    assert 0 < browser.execute_script(f"return {status}.getBoundingClientRect().top") < 300
    assert read_errors(browser) == []


def test_front_page_leads_to_the_pages_of_the_contracts_and_the_demo(browser: Any, url: str) -> None:
    browser.get(f"{url}/")
    links = browser.execute_script("return [...document.querySelectorAll('main a')].map((each) => each.href)")
    assert {f"{url}/docs/{name}" for name in SERVED} | {f"{url}/docs", f"{url}/health/ready"} <= set(links)
    others = [link for link in links if not link.startswith(url)]
    assert len(others) == 3
    assert all(
        httpx.get(link, trust_env=False, verify=False, follow_redirects=True).status_code == 200 for link in links
    )
