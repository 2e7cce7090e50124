"""The report of a contract check or receiver check as one page, in the design of the other pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import openapi

if TYPE_CHECKING:
    from contract_tests.summary import Heading
    from contract_tests.verdict import Verdict

_TEMPLATE = Path(__file__).with_name("check_report.html")


def render_page(verdict: Verdict, heading: Heading) -> str:
    """Return the page, which loads nothing. Values are escaped, but may have secrets."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from contract_tests import summary

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = (Path(openapi.__file__).parent / "pages" / "style.css").read_text(encoding="utf-8")
    left_out = Counter(reason for result in verdict.results for reason in result.left_out)
    tone = "bad" if verdict.failures else "warn" if verdict.errors or verdict.left or verdict.is_interrupted else "good"
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        verdict=verdict,
        heading=heading,
        headline=summary.format_headline(verdict, heading),
        tone=tone,
        style=Markup(style),  # noqa: S704  # It is a file of ours.
        new=summary.group_failures(verdict.failures),
        known=summary.group_failures(verdict.known),
        left_out=sorted(left_out.items()),
    )
