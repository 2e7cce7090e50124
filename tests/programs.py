"""Track which programs of ours listen on which ports, from their output."""

import re

_programs: dict[int, tuple[object, str]] = {}
"""By port: the process of the program, and its contracts."""

_KINDS = {"The worker": "worker", "The mock Open-E": "mock"}

_ADDRESS_LINE = re.compile(
    r"(?:(Budkavle|The worker|The mock Open-E) listens on|API pages: ) *https?://[^/ ]*:([0-9]+)"
)


def register_address(line: str, process: object) -> None:
    """Parse a line that a program wrote for its address."""
    if found := _ADDRESS_LINE.match(line):
        _programs[int(found[2])] = (process, _KINDS.get(found[1], "service"))


def forget_ports(process: object) -> None:
    """Forget the ports of a program, because the system reuses them."""
    # Iterate over a copy, because threads that read the output of other programs change it.
    for port, (other_process, _) in list(_programs.items()):
        if other_process is process:
            del _programs[port]


def get_program(port: int) -> str | None:
    """Return the contracts at a port; None if no program of ours listens there."""
    return _programs[port][1] if port in _programs else None
