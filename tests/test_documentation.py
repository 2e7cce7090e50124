"""The documentation as a whole: links lead somewhere, indexes are complete, generated pages are up to date."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from budkavle.commands.cli import main
from tests.commands_page import PAGE as COMMANDS_PAGE
from tests.commands_page import render
from tests.processes import REPOSITORY
from tests.shown_commands import PAGES, list_budkavle_commands, read_prose

MAX_README_LINES = 120
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def list_anchors(path: Path) -> set[str]:
    """Return the anchors of a page, as GitHub derives them from its headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*)$", read_prose(path), re.MULTILINE):
        text = _LINK.sub("]", heading).replace("[", "").replace("]", "").lower()
        allowed = (char for char in text if char in " -_" or unicodedata.category(char)[0] in "LN")
        found.add("".join(allowed).replace(" ", "-"))
    return found


def find_broken_links(page: Path) -> list[str]:
    """Return the relative links of a page to a missing file or heading."""
    broken = []
    for target in _LINK.findall(read_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in list_anchors(path)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert find_broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page: it's *one*\n[a](#a-page-its-one) [b](page.md#a-page-its-one) [c](https://example.org/none)\n"
        "[d](none.md) [e](#none) [f](page.md#none)\n```\n[g](none.md)\n```\n"
    )
    assert find_broken_links(page) == ["none.md", "#none", "page.md#none"]


def list_linked_pages(page: Path) -> set[Path]:
    """Return the pages that a page links."""
    names = (target.partition("#")[0] for target in _LINK.findall(read_prose(page)))
    return {(page.parent / name).resolve() for name in names if name} & set(PAGES)


def test_each_page_can_be_reached_from_the_readme_in_two_clicks() -> None:
    first = list_linked_pages(REPOSITORY / "README.md")
    reached = first.union(*map(list_linked_pages, first)) | {REPOSITORY / "README.md"}
    missing = [str(page.relative_to(REPOSITORY)) for page in PAGES if page not in reached]
    assert missing == [], "link these pages from the README or from a page that the README links"


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_page_of_commands_is_up_to_date() -> None:
    assert COMMANDS_PAGE.read_text() == render(), "run: make commands-page"


def read_decision_row(page: Path) -> tuple[str, str, str, str, str]:
    """Return number, file name, title, date and status of a decision, from the first lines of its page."""
    head = re.match(r"# (\d{4}) (.+)\n\n- Status: (.+)\n- Date: (\d{4}-\d\d-\d\d)\n\n", page.read_text())
    assert head is not None, f"{page.name} must begin with number, title, status and date"
    number, title, status, date = head.groups()
    return number, page.name, title, date, status


def test_index_of_decisions_has_title_date_and_status_of_each_page() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    row = r"^\| \[(\d{4})\]\((.*?)\) \| (.*?) \| (.*?) \| (.*?) \|$"
    rows = re.findall(row, (folder / "README.md").read_text(), re.MULTILINE)
    assert rows == [read_decision_row(page) for page in sorted(folder.glob("[0-9]*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_module_and_function_that_a_page_names_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        # It describes former versions.
        return
    for name, function in re.findall(r"`((?!ci/)[a-z_]+/[\w/]+\.(?:py|ya?ml|txt))(?:: (\w+))?`", page.read_text()):
        path = REPOSITORY / name
        assert path.exists(), name
        assert not function or re.search(rf"\b{function}\b", path.read_text()), f"{name}: {function}"


def find_unknown_words(command_line: str) -> list[str]:
    """Return the words of a command line that are neither a command nor one of its options; arguments are skipped."""
    command: click.Command = main
    context = click.Context(command)
    words = command_line.split()
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-"):
            return []
        found = command.get_command(context, words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    assert {line: words for line in list_budkavle_commands(page) if (words := find_unknown_words(line))} == {}


def test_unknown_commands_and_options_are_found() -> None:
    assert find_unknown_words("deliveries list --state parked") == []
    assert find_unknown_words("deliveries lost") == ["lost"]
    assert find_unknown_words("audit list --systems ID") == ["--systems"]


def find_dialect_words(text: str) -> list[str]:
    """Return the words outside code for which the field has a standard word."""
    pattern = r"\b(?:told|tells?|stands?|beside|nobody|somebody|whoever)\b"
    return re.findall(pattern, re.sub(r"`[^`]*`", "", text), re.IGNORECASE)


@pytest.mark.parametrize(
    "page",
    # The changelog describes former versions in their own words.
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_pages_use_the_standard_words_of_the_field(page: Path) -> None:
    assert find_dialect_words(read_prose(page)) == []


def iterate_descriptions(node: Any) -> Iterator[str]:
    """Yield the descriptions and summaries of a contract."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("description", "summary") if isinstance(node.get(key), str))
        for child in node.values():
            yield from iterate_descriptions(child)
    elif isinstance(node, list):
        for child in node:
            yield from iterate_descriptions(child)


@pytest.mark.parametrize("contract", sorted((REPOSITORY / "spec").glob("*.yaml")), ids=lambda path: path.stem)
def test_contracts_use_the_standard_words_of_the_field(contract: Path) -> None:
    texts = list(iterate_descriptions(yaml.safe_load(contract.read_text())))
    assert texts
    assert find_dialect_words("\n".join(texts)) == []
