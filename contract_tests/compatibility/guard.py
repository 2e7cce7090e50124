"""Compare the contracts of the repository with older ones, except for differences that are listed as intended."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contract_tests.compatibility.listed import extract_unreleased, parse_listed_differences
from contract_tests.compatibility.operations import differences


@dataclass(frozen=True)
class Baseline:
    """Older contracts that must be kept, and the page that lists intended differences."""

    words: str
    folder: str
    page: str
    part: Callable[[str], str] = str
    """A function that selects the relevant part of the page."""


BASELINES = (
    Baseline(
        words="the contract that its owner published",
        folder="docs/contracts/published",
        page="docs/decisions/0002-differences-from-the-published-contracts.md",
    ),
    Baseline(
        words="the last release",
        folder="docs/contracts/released",
        page="CHANGELOG.md",
        part=extract_unreleased,
    ),
)


@dataclass(frozen=True)
class ContractVerdict:
    """The result of comparing a contract with an older one."""

    contract: str
    baseline: Baseline
    unlisted: tuple[str, ...]
    """Differences that are not listed."""
    outdated: tuple[str, ...]
    """Listed differences that do not exist (any more)."""
    listed: int
    """The number of listed differences that exist."""

    @property
    def keeps(self) -> bool:
        """Whether all differences are listed, and all listed differences exist."""
        return not self.unlisted and not self.outdated


def compare_contracts(repository: Path) -> Iterator[ContractVerdict]:
    """Yield the comparison of each contract with each older one.

    Raises `OSError` if a file or folder is missing, and `BadList` for an invalid list.
    """
    for baseline in BASELINES:
        files = sorted((repository / baseline.folder).glob("*.yaml"))
        if not files:
            # A guard without a baseline would accept everything.
            raise FileNotFoundError(f"no contracts in {repository / baseline.folder}")
        listed = parse_listed_differences(baseline.part((repository / baseline.page).read_text(encoding="utf-8")))
        for file in files:
            now = repository / "spec" / file.name
            found = _list_differences(file, now)
            yield _verdict(file.stem, baseline, found, listed.pop(file.stem, []))
        for contract, lines in listed.items():
            yield _verdict(contract, baseline, [], lines)


def _list_differences(old: Path, new: Path) -> list[str]:
    if not new.exists():
        return ["the contract: no longer there"]
    return [str(difference) for difference in differences(_read(old), _read(new))]


def _verdict(contract: str, baseline: Baseline, found: list[str], listed: list[str]) -> ContractVerdict:
    unlisted = tuple(line for line in found if line not in listed)
    twice = [line for line, count in Counter(listed).items() if count > 1]
    outdated = tuple(dict.fromkeys([*(line for line in listed if line not in found), *twice]))
    return ContractVerdict(contract, baseline, unlisted, outdated, len(found) - len(unlisted))


def _read(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    contents: dict[str, Any] = yaml.load(text, Loader=_YamlLoader)
    return contents


# The loader in C parses a contract ten times faster.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
