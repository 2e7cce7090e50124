"""Run a real browser without a window, for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SECONDS = 20
AXE = Path(__file__).parent / "axe"

needs_browser = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="Chromium or its driver is not installed")


@contextmanager
def running_browser(folder: Path) -> Iterator[Any]:
    """Yield a browser that keeps its data in a folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    # Drawing the tabs and the address bar takes a fifth of the browser's time, which --kiosk saves.
    switches = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,720", "--kiosk")
    for argument in switches:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def wait(browser: Any, script: str) -> Any:
    """Return the value of a script as soon as it is true."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, SECONDS).until(lambda driver: driver.execute_script(f"return {script}"))


def read_errors(browser: Any) -> list[str]:
    """Return the errors and warnings since the last call: failures, and resources that a policy blocked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


def show_as(browser: Any, *, width: int = 1280, scheme: str = "light") -> None:
    """Show pages as in a window of this width, as a phone does up to 600 px, and in light or dark colours."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width <= 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    # Without transitions, colours do not change while axe looks at them.
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = {"features": [{"name": name, "value": value} for name, value in features.items()]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def list_violations(browser: Any) -> list[str]:
    """Return the violations of accessibility rules on the shown page, with the elements, as axe reports them."""
    if browser.execute_script("return window.axe === undefined"):
        browser.execute_script(read_axe())
    script = """
        const done = arguments[arguments.length - 1];
        const options = {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]};
        axe.run(document, options).then((found) => done(found.violations.flatMap((rule) => rule.nodes.map(
            (node) => `${rule.id}: ${node.html}: ${node.failureSummary}`))), (error) => done([String(error)]));
    """
    found: list[str] = browser.execute_async_script(script)
    return found


def is_too_wide(browser: Any) -> bool:
    """Return whether the shown page scrolls sideways."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))


@cache
def read_axe() -> str:
    """Return the script of axe-core, in the version that `tests/axe/package-lock.json` pins."""
    from tests.installations import install_node_packages

    return (install_node_packages(AXE) / "axe-core" / "axe.min.js").read_text()
