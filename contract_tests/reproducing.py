"""How a failed check is reproduced: the lines for the shell that send again what it sent."""

from collections.abc import Sequence
from pathlib import Path

from contract_tests import curl_bytes
from contract_tests.curl import curl
from contract_tests.evidence import Call, Sent
from contract_tests.target import Target

TITLE = "Reproduce with"

_MOST = 12
"""Calls that are told; a check that made more says so."""


def lines(sent: Sequence[Sent], target: Target, name: str, folder: Path) -> list[str]:
    """One for each call, in order; bodies that no line can hold are saved in the folder."""
    told = [
        curl(item, target, folder) if isinstance(item, Call) else curl_bytes.line(item, target, name, folder)
        for item in sent[-_MOST:]
    ]
    left_out = len(sent) - len(told)
    return [f"# {left_out} calls before these are left out", *told] if left_out else told
