"""Which programs of ours listen where: tests learn it from what the programs write."""

import re

_programs: dict[int, tuple[object, str]] = {}
"""By port: who runs the program, and whose contracts hold there."""

_KINDS = {"The worker": "worker", "The mock Open-E": "mock"}

_LISTENS = re.compile(r"(?:(Budkavle|The worker|The mock Open-E) listens on|API pages: ) *https?://[^/ ]*:([0-9]+)")


def listens(line: str, runner: object) -> None:
    """Look in a line that a program wrote for where it can be called."""
    if found := _LISTENS.match(line):
        _programs[int(found[2])] = (runner, _KINDS.get(found[1], "service"))


def has_ended(runner: object) -> None:
    """Forget the ports of a program: the system gives them to others."""
    # A copy: threads that read what other programs write add to it.
    for port, (owner, _) in list(_programs.items()):
        if owner is runner:
            del _programs[port]


def program_at(port: int) -> str | None:
    """Return whose contracts hold at a port; None where no program of ours listens."""
    return _programs[port][1] if port in _programs else None
