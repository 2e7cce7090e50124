"""The contracts of the repository beside what was published before, less what is listed as meant."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contract_tests.compatibility.listed import listed_differences, unreleased
from contract_tests.compatibility.operations import differences


@dataclass(frozen=True)
class Baseline:
    """Older contracts that must be kept, and the page that lists what is meant to differ."""

    words: str
    folder: str
    page: str
    part: Callable[[str], str] = str
    """What of the page counts."""


BASELINES = (
    Baseline(
        words="what its owner published",
        folder="docs/contracts/published",
        page="docs/decisions/0002-differences-from-the-published-contracts.md",
    ),
    Baseline(
        words="the last release",
        folder="docs/contracts/released",
        page="CHANGELOG.md",
        part=unreleased,
    ),
)


@dataclass(frozen=True)
class Verdict:
    """A contract beside an older one."""

    contract: str
    baseline: Baseline
    unlisted: tuple[str, ...]
    """Differences that nobody meant."""
    outdated: tuple[str, ...]
    """What is listed and is no difference (any more)."""
    listed: int
    """How many differences are there and listed."""

    @property
    def keeps(self) -> bool:
        """Whether all differences are meant, and all that is meant is a difference."""
        return not self.unlisted and not self.outdated


def verdicts(repository: Path) -> Iterator[Verdict]:
    """Each contract of a repository beside each older one.

    Raises `OSError` where a file or a folder is missing, and `BadList` for a list that cannot be read.
    """
    for baseline in BASELINES:
        files = sorted((repository / baseline.folder).glob("*.yaml"))
        if not files:
            # A guard that finds nothing to compare with would let everything pass.
            raise FileNotFoundError(f"no contracts in {repository / baseline.folder}")
        listed = listed_differences(baseline.part((repository / baseline.page).read_text(encoding="utf-8")))
        for file in files:
            now = repository / "spec" / file.name
            found = _found(file, now)
            yield _verdict(file.stem, baseline, found, listed.pop(file.stem, []))
        for contract, lines in listed.items():
            yield _verdict(contract, baseline, [], lines)


def _found(old: Path, new: Path) -> list[str]:
    if not new.exists():
        return ["the contract: no longer there"]
    return [str(difference) for difference in differences(_read(old), _read(new))]


def _verdict(contract: str, baseline: Baseline, found: list[str], listed: list[str]) -> Verdict:
    unlisted = tuple(line for line in found if line not in listed)
    twice = [line for line, count in Counter(listed).items() if count > 1]
    outdated = tuple(dict.fromkeys([*(line for line in listed if line not in found), *twice]))
    return Verdict(contract, baseline, unlisted, outdated, len(found) - len(unlisted))


def _read(file: Path) -> dict[str, Any]:
    contents: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return contents
