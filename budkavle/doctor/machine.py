"""Checks of the machine: the limit of file descriptors, and the recording of traces."""

import os
import resource

from budkavle.doctor.findings import Findings
from budkavle.settings import Settings
from budkavle.tracing import find_obstacle, is_configured

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


def check_traces(findings: Findings) -> None:
    """Check that traces are recorded if the environment asks for them."""
    if not is_configured(os.environ):
        findings.add_ok("traces are not recorded")
        return
    obstacle = find_obstacle(os.environ)
    if obstacle is None:
        findings.add_ok("traces are recorded")
    else:
        findings.add_warning(
            f"traces are not recorded: {obstacle}", "see how-to/traces.md, or remove the variables OTEL_…"
        )
