"""The documentation as a site, in a real browser on a desktop and on a phone."""

import functools
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser import SECONDS, needs_browser, read_errors, running_browser, wait
from tests.processes import REPOSITORY, run_program

pytestmark = needs_browser

WIDTHS = {"desktop": 1280, "phone": 390}

# A page in a frame costs a third of a visit. Nothing is painted, since only the layout is of interest.
FRAME = """<!doctype html><link rel="icon" href="data:,">
<iframe style="visibility: hidden; border: 0; height: 800px"></iframe>
"""

PAGE = """
    const [address, widths, done] = arguments;
    const frame = document.querySelector("iframe");
    frame.style.width = `${Object.values(widths)[0]}px`;
    frame.onload = () => {
        const page = frame.contentWindow;
        const links = [...page.document.querySelectorAll("a[href]")].map((link) => link.href.split("#")[0]);
        const sources = page.performance.getEntriesByType("resource").map((entry) => entry.name);
        const images = [...page.document.images].filter((image) => image.naturalWidth === 0);
        const faults = {
            foreign: sources.filter((source) => !source.startsWith(location.origin)),
            images: images.map((image) => image.src),
        };
        for (const [name, width] of Object.entries(widths)) {
            frame.style.width = `${width}px`;
            const excess = page.document.documentElement.scrollWidth - page.innerWidth;
            faults[`pixels too wide on a ${name}`] = Math.max(excess, 0);
        }
        done([links.filter((link) => link.startsWith(location.origin) && link.endsWith(".html")), faults]);
    };
    frame.contentWindow.location.replace(address);
"""

NO_SEARCH = "window.Worker = class extends EventTarget { postMessage() {} };"
"""A configuration without the search index, which takes a third of the time of each page."""


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    pytest.importorskip("properdocs", reason="the requirements of `make docs` are not installed")
    folder = tmp_path_factory.mktemp("site")
    command = ("-m", "properdocs", "build", "--quiet", "--config-file", "site/properdocs.yml", "--site-dir")
    result = run_program(sys.executable, *command, str(folder), folder=REPOSITORY)
    assert result.returncode == 0
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Files, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def without_search(browser: Any) -> Iterator[None]:
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NO_SEARCH})
    yield
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def set_width(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def find_links_and_faults(browser: Any, address: str) -> tuple[list[str], dict[str, Any]]:
    """Load a page into the frame, and return the pages that it links, and its faults."""
    links, faults = browser.execute_async_script(PAGE, address, WIDTHS)
    faults["errors"] = read_errors(browser)
    return links, {name: fault for name, fault in faults.items() if fault}


@pytest.mark.usefixtures("without_search")
def test_every_page_can_be_reached_from_the_start_page_and_fits(browser: Any, url: str, folder: Path) -> None:
    (folder / "frame.htm").write_text(FRAME)
    browser.get(f"{url}/frame.htm")
    waiting, faults = [f"{url}/index.html"], {}
    reached = set(waiting)
    while waiting:
        address = waiting.pop()
        links, found = find_links_and_faults(browser, address)
        if found:
            faults[address.removeprefix(url)] = found
        news = set(links) - reached
        reached |= news
        waiting += news
    assert faults == {}
    pages = {f"{url}/{path.relative_to(folder)}" for path in folder.rglob("*.html")} - {f"{url}/404.html"}
    assert pages - reached == set()


def click(browser: Any, selector: str, text: str = "") -> None:
    """Click the element with that text as a person does, when nothing moves or covers it."""
    from selenium.common.exceptions import ElementClickInterceptedException, ElementNotInteractableException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def try_to_click(driver: Any) -> bool:
        elements = driver.find_elements(By.CSS_SELECTOR, selector)
        fitting = [element for element in elements if text in element.get_attribute("textContent")]
        for element in fitting[:1]:
            element.click()
        return bool(fitting)

    covered = (ElementClickInterceptedException, ElementNotInteractableException)
    WebDriverWait(browser, SECONDS, ignored_exceptions=covered).until(try_to_click)


def is_below_the_menu(browser: Any, selector: str) -> bool:
    """Return whether an element is visible, and not behind the menu, which keeps its place."""
    script = f"""(() => {{
        const box = document.querySelector('{selector}').getBoundingClientRect();
        const menu = document.querySelector('.navbar').getBoundingClientRect();
        return box.top >= menu.bottom - 1 && box.top < window.innerHeight;
    }})()"""
    return bool(wait(browser, script))


@pytest.mark.usefixtures("without_search")
@pytest.mark.parametrize("width", WIDTHS)
def test_menu_leads_to_a_page_and_its_contents_to_a_heading(browser: Any, url: str, width: str) -> None:
    set_width(browser, WIDTHS[width])
    browser.get(f"{url}/index.html")
    if width == "phone":
        click(browser, ".navbar-toggler[data-bs-target='#navbar-collapse']")
    click(browser, ".nav-link", "Operate")
    click(browser, ".dropdown-item", "PostgreSQL")
    assert wait(browser, "document.querySelector('h1')?.textContent.startsWith('PostgreSQL')")
    assert is_below_the_menu(browser, "h1")
    if width == "phone":
        click(browser, ".navbar-toggler[data-bs-target='#toc-collapse']")
    click(browser, ".bs-sidebar a", "The clock")
    assert is_below_the_menu(browser, "#the-clock")
    assert read_errors(browser) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_search_finds_a_page(browser: Any, url: str, width: str) -> None:
    set_width(browser, WIDTHS[width])
    browser.get(f"{url}/how-to/audit.html")
    if width == "phone":
        click(browser, ".navbar-toggler[data-bs-target='#navbar-collapse']")
    click(browser, "[data-bs-target='#properdocs_search_modal']")
    # The page moves the focus into the field when the dialogue has opened.
    assert wait(browser, "document.activeElement.id === 'properdocs-search-query'")
    # The index may not be ready yet.
    browser.switch_to.active_element.send_keys("pgbouncer")
    click(browser, "#properdocs-search-results a", "Transaction mode")
    assert wait(browser, "location.pathname === '/how-to/pgbouncer.html'")
    assert is_below_the_menu(browser, "#transaction-mode")
    assert read_errors(browser) == []
