"""Parse the lists of intended differences in documentation pages."""

import pytest

from contract_tests.compatibility.listed import BadList, extract_unreleased, parse_listed_differences

PAGE = """\
# Page

| what | why | other |
|---|---|---|
| not | this | `table` |

## Narrowed in `spec/web-messages.yaml`

Words.

| what | why | differences |
|---|---|---|
| the `message` | for `reasons` | `requests A.b: required now`<br>`getA 200: no longer there` |
| a rule | that no contract has words for | |
| an enum | with a bar in it | `answers A: enum no longer has "x | y"` |

| no | header |

## In `spec/subscriptions.yaml`

| what | why | differences |
|---|---|---|
| one | reason | `getB: tags gone` |
"""


def test_differences_are_parsed_under_the_heading_of_their_contract() -> None:
    assert parse_listed_differences(PAGE) == {
        "web-messages": [
            "requests A.b: required now",
            "getA 200: no longer there",
            'answers A: enum no longer has "x | y"',
        ],
        "subscriptions": ["getB: tags gone"],
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("| one | `a: b` |", "a row says what, why and which differences"),
        ("| one |  | `a: b` |", "a row says what, why and which differences"),
        ("| one | reason | a: b |", "differences must be in code"),
        ("| one | reason | `a: b`, `c: d` |", "differences must be in code"),
    ],
)
def test_unreadable_row_is_refused(row: str, words: str) -> None:
    with pytest.raises(BadList, match=words):
        parse_listed_differences(f"## `spec/a.yaml`\n| what | why | differences |\n|---|---|---|\n{row}\n")


def test_table_without_a_contract_is_refused() -> None:
    with pytest.raises(BadList, match="the heading above this table names no contract"):
        parse_listed_differences("## `spec/a.yaml`\n## Other\n| what | why | differences |\n")


def test_only_unreleased_changes_of_a_changelog_count() -> None:
    changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- New\n\n## [0.1.0]\n\n- Old\n"
    assert extract_unreleased(changelog).strip() == "### Added\n\n- New"
    assert extract_unreleased("# Changelog\n\n## [0.1.0]\n\n- Old\n") == ""
