"""Parse the lists of intended differences in pages for people.

A page lists them in tables under a heading that contains the contract in code, such as `spec/web-messages.yaml`:

    | what | why | differences |
    |---|---|---|
    | `message` is required | Open-E refuses a blank text | `requests CreateWebMessageRequest.message: required now` |

The last cell contains the exact lines that the guard prints, each in code, separated by `<br>`. It is empty if the
difference cannot be seen in a contract.
"""

import re

_CONTRACT = re.compile(r"`spec/([a-z0-9-]+)\.yaml`")
TABLE_HEADER = "| what | why | differences |"
_CODE = re.compile(r"`([^`]+)`")


class BadList(ValueError):
    """An invalid list, with the line that is wrong."""


def parse_listed_differences(page: str) -> dict[str, list[str]]:
    """Return the lines listed in a page, by the name of the contract. Raises `BadList`."""
    found: dict[str, list[str]] = {}
    contract = None
    in_table = False
    for line in page.splitlines():
        if line.startswith("#"):
            name = _CONTRACT.search(line)
            contract = name[1] if name else None
        if line == TABLE_HEADER:
            if contract is None:
                raise BadList(f"the heading above this table names no contract: {line}")
            in_table = True
        elif not line.startswith("|"):
            in_table = False
        elif in_table and contract is not None and not line.startswith("|--"):
            found.setdefault(contract, []).extend(_differences(line))
    return found


def _differences(row: str) -> list[str]:
    # Split at the first two bars only: a difference may contain more of them.
    cells = [cell.strip() for cell in row.removeprefix("|").removesuffix("|").split(" | ", 2)]
    if len(cells) < 3 or not cells[0] or not cells[1]:
        raise BadList(f"a row says what, why and which differences: {row}")
    differences = [part.strip() for part in cells[2].split("<br>")] if cells[2] else []
    if not all(_CODE.fullmatch(part) for part in differences):
        raise BadList(f"differences must be in code, separated by <br>: {row}")
    return [part.strip("`") for part in differences]


def extract_unreleased(changelog: str) -> str:
    """Return the section of unreleased changes of a changelog in the format of Keep a Changelog."""
    _, _, after = changelog.partition("\n## [Unreleased]")
    return after.split("\n## ", 1)[0]
