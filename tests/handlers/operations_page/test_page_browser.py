"""The operations page in a real browser, with the keyboard alone, on a phone and on a desktop, in light and dark."""

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from domain.audit import WEB_MESSAGES
from persistence import deliveries
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
from tests.databases import run_with_database
from tests.handlers.operations_page.operations import ROOT, Page, Stuck, put_keys, put_stuck, running_page
from tests.persistence.catalogues import SYSTEM_IDS, prepare

pytestmark = needs_browser

WIDTHS = [360, 1280]
BUDGET_BYTES = 100_000

NAME = '[element.labels?.[0]?.innerText ?? "", element.innerText, element.href ?? ""].join(" ")'
"""The name of an element: its label, text and address."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Iterator[Page]:
    path = tmp_path_factory.mktemp("operations") / "test.db"
    path.write_bytes(migrated_sqlite)
    url = f"sqlite:///{path}"
    run_with_database(url, prepare)
    put_keys(url)
    with running_page(url) as running:
        yield running


@pytest.fixture(scope="module")
def signed_in(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a browser in which an operator has signed in with the keyboard."""
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        driver.get(f"{page.url}{ROOT}")
        press(driver, "anna", Keys.ENTER)
        assert wait(driver, "document.querySelector('h1').innerText !== 'Sign in' && document.querySelector('h1')")
        yield driver


@pytest.fixture(scope="module", params=WIDTHS)
def width(request: pytest.FixtureRequest, signed_in: Any) -> int:
    show_as(signed_in, width=request.param)
    return int(request.param)


@pytest.fixture(scope="module")
def stuck(page: Page, width: int) -> Stuck:
    """Return stuck deliveries of a system of its own for each width."""
    place = WIDTHS.index(width)
    return page.run(lambda database: put_stuck(database, SYSTEM_IDS[place], 101 + place))


def press(browser: Any, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def read_focus(browser: Any) -> str:
    """Return the name of the focused element."""
    return str(browser.execute_script(f"const element = document.activeElement; return {NAME}"))


def go_to(browser: Any, name: str) -> None:
    """Press Tab until the focus is on an element with this name. Its outline can be seen."""
    press_tab(browser, f"{NAME}.includes(value)", name)
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") != "none"


def follow(browser: Any, name: str) -> None:
    """Go to a link or button, press Enter, and wait for the next page."""
    go_to(browser, name)
    open_next(browser)


def open_next(browser: Any) -> None:
    """Press Enter, and wait for the next page."""
    browser.execute_script("window.isOld = true")
    press(browser, Keys.ENTER)
    wait(browser, "window.isOld === undefined && document.readyState === 'complete'")


def read_main(browser: Any) -> str:
    return " ".join(str(browser.execute_script("return document.querySelector('main').innerText")).split())


def open_first(browser: Any, page: Page) -> None:
    browser.get(f"{page.url}{ROOT}")


def search(browser: Any, page: Page, text: str) -> None:
    open_first(browser, page)
    go_to(browser, "Find by id")
    browser.execute_script("window.isOld = true")
    press(browser, text, Keys.ENTER)
    wait(browser, "window.isOld === undefined && document.readyState === 'complete'")


def test_find_why_a_delivery_is_blocked(signed_in: Any, page: Page, width: int, stuck: Stuck) -> None:
    system_id = SYSTEM_IDS[WIDTHS.index(width)]
    open_first(signed_in, page)
    follow(signed_in, system_id)
    assert "Blocked" in read_main(signed_in)
    follow(signed_in, f"{ROOT}/deliveries/{stuck.blocked}")
    assert "An earlier delivery of the same key has not arrived." in read_main(signed_in)
    assert "The earlier one: The receiver answered 503" in read_main(signed_in)
    follow(signed_in, "Look at the earlier delivery")
    assert "Its last attempt failed." in read_main(signed_in)


def test_find_a_request_by_its_id(signed_in: Any, page: Page, stuck: Stuck) -> None:
    search(signed_in, page, stuck.request)
    assert stuck.message in read_main(signed_in)
    follow(signed_in, "Search everything")
    follow(signed_in, f"{ROOT}/events/")
    assert "Published by publisher" in read_main(signed_in)


def test_replay_a_delivery(signed_in: Any, page: Page, stuck: Stuck) -> None:
    search(signed_in, page, stuck.parked[0])
    follow(signed_in, "Replay this delivery")
    assert "Replay 1 delivery?" in read_main(signed_in)
    # The focus is on the question, so that its button is the next element.
    assert read_focus(signed_in).strip() == "Replay 1 delivery?"
    press(signed_in, Keys.TAB)
    assert read_focus(signed_in).strip() == "Replay 1 delivery"
    open_next(signed_in)
    assert "It will be sent now." in read_main(signed_in)
    follow(signed_in, "Back to the delivery")
    assert "parked" not in read_main(signed_in)
    assert page.run(lambda database: deliveries.get(database, stuck.parked[0])).state == "waiting"


def test_pause_and_resume(signed_in: Any, page: Page, width: int, stuck: Stuck) -> None:
    open_first(signed_in, page)
    follow(signed_in, SYSTEM_IDS[WIDTHS.index(width)])
    follow(signed_in, "Pause deliveries")
    go_to(signed_in, "The pause ends")
    press(signed_in, Keys.ARROW_DOWN)
    follow(signed_in, "Pause deliveries")
    assert "Deliveries of this system are paused until" in read_main(signed_in)
    follow(signed_in, "Back to")
    follow(signed_in, "Resume deliveries")
    follow(signed_in, "Resume deliveries")
    assert "Workers send now what was held back." in read_main(signed_in)


def test_settle_a_message(signed_in: Any, page: Page, stuck: Stuck) -> None:
    open_first(signed_in, page)
    follow(signed_in, "Messages")
    follow(signed_in, stuck.message)
    follow(signed_in, "Settle: it is not on the case")
    follow(signed_in, "It is not on the case: delete it here")
    assert "Settled 1 message" in read_main(signed_in)
    assert page.list_entries(WEB_MESSAGES)[0].caller == "anna"


def test_pages_are_accessible_small_and_fit(signed_in: Any, page: Page, width: int, stuck: Stuck) -> None:
    """In light and dark; nothing comes from another host, and nothing is blocked."""
    system = f"{ROOT}/systems/{SYSTEM_IDS[WIDTHS.index(width)]}"
    paths = [
        ROOT,
        system,
        f"{system}/deliveries/blocked",
        f"{system}/pause",
        f"{system}/replay",
        f"{ROOT}/deliveries/{stuck.parked[1]}",
        f"{ROOT}/messages",
        f"{ROOT}/requests/{stuck.request}",
        f"{ROOT}/search?id=nothing",
        f"{ROOT}/other",
    ]
    read_errors(signed_in)
    for path in paths:
        signed_in.get(f"{page.url}{path}")
        for scheme, rules in (("light", RULES), ("dark", COLOUR_RULES)):
            show_as(signed_in, width=width, scheme=scheme)
            assert list_violations(signed_in, rules) == [], (path, scheme)
            assert not is_too_wide(signed_in), path
        script = """
            return [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .map((each) => [each.name, each.decodedBodySize]);
        """
        loaded = signed_in.execute_script(script)
        assert [name for name, _ in loaded if not name.startswith(page.url)] == []
        assert sum(size for _, size in loaded) < BUDGET_BYTES
    show_as(signed_in, width=width)
    # The last page does not exist.
    assert [line for line in read_errors(signed_in) if "404" not in line] == []


@pytest.fixture
def signed_out(signed_in: Any) -> Iterator[Any]:
    """Yield the browser as a new one without a session. It gets the session back afterwards."""
    show_as(signed_in)
    cookies = signed_in.get_cookies()
    assert cookies
    signed_in.delete_all_cookies()
    yield signed_in
    signed_in.delete_all_cookies()
    for cookie in cookies:
        signed_in.add_cookie(cookie)


def test_sign_in_leads_to_the_wanted_page(signed_out: Any, page: Page) -> None:
    """A browser without a session sees the sign-in form, with the focus in its field."""
    signed_out.get(f"{page.url}{ROOT}/messages")
    assert "Operator key" in read_focus(signed_out)
    press(signed_out, "wrong", Keys.ENTER)
    assert wait(signed_out, "document.querySelector('[role=alert]')")
    assert list_violations(signed_out) == []
    press(signed_out, "bo", Keys.ENTER)
    assert wait(signed_out, "document.querySelector('h1').innerText === 'Messages in doubt'")
    assert "read-only" in read_main(signed_out)
