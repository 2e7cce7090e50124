"""The report of a check as a page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from budkavle.commands.check_reports import render_page
from contract_tests.summary import Heading
from contract_tests.verdict import CheckFinding, Failure, SuiteResult, Verdict
from tests.browser import is_too_wide, list_violations, needs_browser, read_errors, running_browser, show_as

HEADING = Heading("http://127.0.0.1:8080", "quick", 7, Path("report"), "Before you paste a line, set API_KEY.")


@pytest.fixture
def verdict() -> Verdict:
    failures = tuple(
        Failure("rules of web-messages", name, f"<b>{name}</b> & " + "w" * 400, (f"curl 'http://127.0.0.1/{name}'",))
        for name in ("list is sorted [a]", "list is sorted [b]", "known one")
    )
    results = [
        SuiteResult("rules of web-messages", 553, 12.4, failures, ("needs --case", "needs --case")),
        SuiteResult("schema of web-messages", 0, 1.0, error="ended with -9; see schema.log"),
    ]
    known = frozenset(CheckFinding("rules of web-messages", name) for name in ("known one", "fixed one"))
    return Verdict(results, ["something stayed"], baseline=known)


def test_page_has_everything_escaped_and_loads_nothing(verdict: Verdict) -> None:
    page = render_page(verdict, HEADING)
    assert "BREAKS the contract: 2 new failures" in page
    assert "&lt;b&gt;list is sorted [a]&lt;/b&gt; &amp;" in page
    assert "curl &#39;http://127.0.0.1/known one&#39;" in page
    for text in ("2 alike", "fixed one", "something stayed", "needs --case", "ended with -9", "set API_KEY"):
        assert text in page
    assert re.findall(r"<(?:script|link|img)|(?:src|href)=\"(?!#)", page) == []


def test_page_of_an_intact_server_says_so() -> None:
    page = render_page(Verdict([SuiteResult("rules of web-messages", 10, 1.0)]), HEADING)
    assert 'data-tone="good"><strong>http://127.0.0.1:8080 keeps the contract: 10 checks' in page
    assert "<h1>Contract check</h1>" in page
    assert "<h2>" not in page


def test_page_of_a_receiver_has_the_title_of_its_check() -> None:
    page = render_page(Verdict([SuiteResult("deliveries", 10, 1.0)]), replace(HEADING, title="Receiver check"))
    assert "<h1>Receiver check</h1>" in page


@needs_browser
def test_page_is_accessible_and_fits_a_phone(verdict: Verdict, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_page(verdict, HEADING))
    with running_browser(tmp_path) as browser:
        for width, scheme in ((1280, "light"), (360, "dark")):
            show_as(browser, width=width, scheme=scheme)
            browser.get(file.as_uri())
            browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")
            assert list_violations(browser) == []
            assert not is_too_wide(browser)
        assert read_errors(browser) == []
