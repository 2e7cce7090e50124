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
MOST_TABS = 120

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""The rules that can find something new if nothing but the colours of a page change."""

# How many times to press Tab: 0 if the wanted element has the focus, otherwise at least 1. The script runs again after
# that, since elements that scroll are stops too, and pages change.
COUNT_TABS = """
    const [back, value] = arguments;
    const isWanted = (element) => EXPRESSION;
    const current = document.activeElement;
    if (PRESSED && isWanted(current)) return 0;
    const root = document.querySelector("dialog:modal") ?? document;
    const stops = [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
        (each) => each.tabIndex >= 0 && !each.disabled && each.checkVisibility({visibilityProperty: true}));
    const side = back ? Node.DOCUMENT_POSITION_PRECEDING : Node.DOCUMENT_POSITION_FOLLOWING;
    const next = current === document.body ? stops : stops.filter(
        (each) => current.compareDocumentPosition(each) & side);
    return Math.max(1, (back ? next.reverse() : next).findIndex(isWanted) + 1);
"""

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
    # A page that stays in this cache keeps its process, so that the next page starts another one.
    options.add_argument("--disable-features=BackForwardCache")
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


def press_tab(browser: Any, expression: str, value: str, *, back: bool = False, limit: int = MOST_TABS) -> None:
    """Press Tab until the focus is on an `element` for which an expression with `value` is true.

    With `back`, press Shift and Tab. All keys that are needed are sent at once, because each call of the browser costs
    more than a key.
    """
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    script = COUNT_TABS.replace("EXPRESSION", expression)
    pressed = 0
    while count := browser.execute_script(script.replace("PRESSED", "true" if pressed else "false"), back, value):
        pressed += count
        if pressed > limit:
            raise AssertionError(f"Tab does not reach {value}")
        keys = ActionChains(browser)
        if back:
            keys.key_down(Keys.SHIFT)
        keys.send_keys(Keys.TAB * count)
        if back:
            keys.key_up(Keys.SHIFT)
        keys.perform()


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


def list_violations(browser: Any, rules: tuple[str, ...] = RULES) -> list[str]:
    """Return the violations of accessibility rules on the shown page, with the elements, as axe reports them."""
    if browser.execute_script("return window.axe === undefined"):
        browser.execute_script(read_axe())
    script = """
        const [runOnly, done] = arguments;
        const options = {
            runOnly,
            // Without reports of what is right, which take a quarter of the time.
            resultTypes: ["violations"],
            selectors: false,
        };
        axe.run(document, options).then((found) => done(found.violations.flatMap((rule) => rule.nodes.map(
            (node) => `${rule.id}: ${node.html}: ${node.failureSummary}`))), (error) => done([String(error)]));
    """
    found: list[str] = browser.execute_async_script(script, rules)
    return found


def is_too_wide(browser: Any) -> bool:
    """Return whether the shown page scrolls sideways."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth"))


@cache
def read_axe() -> str:
    """Return the script of axe-core, in the version that `tests/axe/package-lock.json` pins."""
    from tests.installations import install_node_packages

    return (install_node_packages(AXE) / "axe-core" / "axe.min.js").read_text()
