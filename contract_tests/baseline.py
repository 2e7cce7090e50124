"""Baselines: files with known findings. A check fails only if it finds others."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from contract_tests.verdict import CheckFinding, Failure

_HEAD = "Known findings of `budkavle contract-check`. Remove those that are fixed."


class BaselineError(Exception):
    """The file cannot be read or written, or is not a baseline."""


def read_baseline(file: Path) -> frozenset[CheckFinding]:
    """Return the findings in a file. Raises `BaselineError`."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return frozenset(
            CheckFinding(each["suite"], each["check"], each.get("kind", "")) for each in document["findings"]
        )
    except OSError as exc:
        raise BaselineError(f"{file} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BaselineError(f"{file} is no baseline, which --write-baseline writes") from exc


def write_baseline(file: Path, failures: Iterable[Failure], clean: Callable[[str], str]) -> frozenset[CheckFinding]:
    """Write the findings of these failures to a file, sorted, and return them. `clean` removes secrets from a text.

    Raises `BaselineError`.
    """
    found = {failure.finding for failure in failures}
    findings = sorted(CheckFinding(*map(clean, each)) for each in found)
    items = [{name: value for name, value in each._asdict().items() if value} for each in findings]
    try:
        file.write_text(
            json.dumps({"about": _HEAD, "findings": items}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    except OSError as exc:
        raise BaselineError(f"{file} cannot be written: {exc.strerror}") from exc
    return frozenset(found)
