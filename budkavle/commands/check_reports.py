"""The report of a contract check or receiver check as one page, in the design of the other pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import openapi

if TYPE_CHECKING:
    from contract_tests.summary import Heading
    from contract_tests.verdict import Verdict


def render_page(verdict: Verdict, heading: Heading) -> str:
    """Return the page, which loads nothing. Values are escaped, but may have secrets."""
    from contract_tests import summary
    from openapi.pages.rendering import Pages

    left_out = Counter(reason for result in verdict.results for reason in result.left_out)
    tone = "bad" if verdict.failures else "warn" if verdict.errors or verdict.left or verdict.is_interrupted else "good"
    values = {
        "verdict": verdict,
        "heading": heading,
        "headline": summary.format_headline(verdict, heading),
        "tone": tone,
        "style": (Path(openapi.__file__).parent / "pages" / "style.css").read_text(encoding="utf-8"),
        "new": summary.group_failures(verdict.failures),
        "known": summary.group_failures(verdict.known),
        "left_out": sorted(left_out.items()),
    }
    page = Pages(Path(__file__).parent, name="Budkavle", files="").render("check_report.html", values)
    return bytes(page.body).decode()
