"""Write shell commands that send the requests of a failed check again."""

from collections.abc import Sequence
from pathlib import Path

from contract_tests import curl_bytes
from contract_tests.curl import format_curl
from contract_tests.evidence import Sent, SentRequest
from contract_tests.target import CheckTarget

TITLE = "Reproduce with"

_MOST = 12
"""Maximum number of requests in a report, which also has the number of omitted ones."""


def format_commands(sent: Sequence[Sent], target: CheckTarget, name: str, folder: Path) -> list[str]:
    """Return one shell command per request, in order. Bodies that do not fit are saved in the folder."""
    commands = [
        format_curl(item, target, folder)
        if isinstance(item, SentRequest)
        else curl_bytes.format_raw(item, target, name, folder)
        for item in sent[-_MOST:]
    ]
    omitted = len(sent) - len(commands)
    return [f"# {omitted} calls before these are left out", *commands] if omitted else commands
