"""How a failed check is reproduced: the lines for the shell that send again what it sent."""

from pathlib import Path

from contract_tests.evidence import SentInBytes
from contract_tests.target import Target

TITLE = "Reproduce with"

_MOST = 12
"""Calls that are told; a check that made more says so."""


def lines(sent: list[str | SentInBytes], target: Target, name: str, folder: Path) -> list[str]:
    """One for each call, in order; bodies that no line can hold are saved in the folder."""
    told = [item if isinstance(item, str) else f"{name} {folder} {target.url}" for item in sent[-_MOST:]]
    left_out = len(sent) - len(told)
    return [f"# {left_out} calls before these are left out", *told] if left_out else told
