"""The pages of the contracts in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import MESSAGES_KEY, RunningService, running_service
from mock_open_e import mock_open_e
from tests.browser import needs_browser, read_errors, running_browser, wait
from tests.processes import REPOSITORY

pytestmark = needs_browser

OPERATION = "document.querySelector('#operations-WebMessages-createWebMessage"
KEY = f"""{OPERATION} tr[data-param-name="Idempotency-Key"] input')"""
METHODS = {"get", "post", "put", "delete"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def service(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    path = tmp_path_factory.mktemp("database") / "test.db"
    path.write_bytes(migrated_sqlite)
    url = "http://open-e.test/external/api/callback"
    with (
        mock_open_e(cases={1068}),
        running_service(database_url=f"sqlite:///{path}", open_e_external_url=url) as service,
    ):
        yield service


def open_form(browser: Any, service: RunningService) -> None:
    """Load the page with the form to create a message, and open the form."""
    browser.get("about:blank")
    browser.get(f"{service.url}/docs/web-messages#/WebMessages/createWebMessage")
    wait(browser, f"{OPERATION} .try-out__btn')")
    browser.execute_script(f"{OPERATION} .try-out__btn').click()")
    wait(browser, f"{KEY} && {KEY}.value")


def send_form(browser: Any, service: RunningService, *, file: Path | None = None) -> dict[str, Any]:
    """Send the multipart form that the page offers, with a file if one is given, and return the new message."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    browser.execute_script("document.querySelector('.btn.authorize').click()")
    wait(browser, "document.querySelector('.auth-container input')")
    browser.find_element(By.CSS_SELECTOR, ".auth-container input").send_keys(MESSAGES_KEY)
    browser.find_element(By.CSS_SELECTOR, ".auth-container .authorize").click()
    browser.find_element(By.CSS_SELECTOR, ".btn-done").click()
    form = browser.find_element(By.ID, "operations-WebMessages-createWebMessage")
    Select(form.find_element(By.CSS_SELECTOR, "select.content-type")).select_by_visible_text("multipart/form-data")
    wait(browser, f"""{OPERATION} tr[data-property-name="message"] textarea')""")
    if file is not None:
        browser.execute_script(f"{OPERATION} .json-schema-form-item-add').click()")
        wait(browser, f"{OPERATION} input[type=file]')")
        form.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(file))
    browser.execute_script(f"{OPERATION} .execute').click()")
    table = f"{OPERATION} .live-responses-table .response')"
    shown: str = wait(browser, f"{table} && {table}.innerText")
    assert shown.startswith("201"), shown
    (path,) = re.findall("^ ?location: (.*)$", shown, re.MULTILINE)
    message: dict[str, Any] = service.client.get(path.strip()).json()
    return message


def test_page_offers_a_new_idempotency_key_for_each_load(service: RunningService, browser: Any) -> None:
    keys = set()
    for _ in range(2):
        open_form(browser, service)
        keys.add(browser.execute_script(f"return {KEY}.value"))
    assert len(keys) == 2
    assert all(len(key) == 32 for key in keys)
    assert read_errors(browser) == []


def test_multipart_form_is_accepted_as_the_page_offers_it(service: RunningService, browser: Any) -> None:
    open_form(browser, service)
    message = send_form(browser, service)
    assert message["message"] == "This is a message"
    assert "attachments" not in message


def test_multipart_form_of_the_page_sends_a_file(service: RunningService, browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "hello.txt"
    file.write_text("Hello")
    open_form(browser, service)
    message = send_form(browser, service, file=file)
    assert [each["fileName"] for each in message["attachments"]] == ["hello.txt"]


@pytest.mark.parametrize("name", ["web-messages", "subscriptions", "operations"])
def test_page_offers_the_parameters_of_the_contract_without_cursors(
    service: RunningService, browser: Any, name: str
) -> None:
    contract = yaml.safe_load((REPOSITORY / "spec" / f"{name}.yaml").read_text())
    shared = contract["components"].get("parameters", {})
    parameters = [
        shared[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each
        for path in contract["paths"].values()
        for method, operation in path.items()
        if method in METHODS
        for each in (*path.get("parameters", ()), *operation.get("parameters", ()))
    ]

    browser.get(f"{service.url}/docs/{name}")
    wait(browser, "document.querySelector('.opblock-summary-control')")
    browser.execute_script("document.querySelectorAll('.opblock-summary-control').forEach((each) => each.click())")
    operations = "document.querySelectorAll('.opblock').length"
    wait(browser, f"document.querySelectorAll('.try-out__btn').length === {operations}")
    browser.execute_script("document.querySelectorAll('.try-out__btn').forEach((each) => each.click())")
    rows = "[...document.querySelectorAll('tr[data-param-name]')]"
    wait(browser, f"{rows}.every((row) => row.querySelector('input, select'))")
    offered = browser.execute_script(
        f"return {rows}.map((row) => [row.dataset.paramName, row.querySelector('input, select').value])"
    )

    assert sorted(name for name, _ in offered) == sorted(each["name"] for each in parameters)
    examples = {each["name"]: str(each["example"]) for each in parameters if isinstance(each.get("example"), str)}
    for parameter, value in offered:
        if parameter == "after":
            assert value == ""
        elif parameter in examples and parameter not in {"Idempotency-Key", "id"}:
            assert value == examples[parameter]
