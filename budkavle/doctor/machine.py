"""Checks of the machine: limits of file descriptors."""

import resource

from budkavle.doctor.findings import Findings
from budkavle.settings import Settings

OTHER_DESCRIPTORS = 200
"""Descriptors of a process besides connections of clients: files, the database, Open-E."""


def check_descriptors(findings: Findings, settings: Settings) -> None:
    """Check that the hard limit of file descriptors, which programs use, suffices for the connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OTHER_DESCRIPTORS + max(settings.max_connections, settings.worker_concurrency)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        findings.add_ok("the limit of file descriptors suffices")
    else:
        findings.add_warning(
            f"the limit of file descriptors is {hard}, the settings permit {wanted}",
            "raise it (LimitNOFILE in systemd), or lower BUDKAVLE_MAX_CONNECTIONS",
        )
