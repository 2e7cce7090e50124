"""Which programs of ours listen where: tests learn it from what the programs write."""

import re

_programs: dict[int, str] = {}

_KINDS = {"The worker": "worker", "The mock Open-E": "mock"}

_LISTENS = re.compile(r"(?:(Budkavle|The worker|The mock Open-E) listens on|API pages: ) *https?://[^/ ]*:([0-9]+)")


def listens(line: str) -> None:
    """Looks in a line that a program wrote for where it can be called."""
    if found := _LISTENS.match(line):
        _programs[int(found[2])] = _KINDS.get(found[1], "service")


def program_at(port: int) -> str | None:
    """Whose contracts hold at a port; None where no program of ours has ever listened."""
    return _programs.get(port)
