"""Report the start of a program to a service manager, as sd_notify of systemd does."""

import os
import socket

import structlog

VARIABLE = "NOTIFY_SOCKET"
"""The variable in which a service manager that waits for the report passes the address of its Unix socket."""

log = structlog.get_logger("budkavle.service_manager")


def report_ready() -> None:
    """Report that this program has started and serves requests, if a service manager waits for that."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        # An abstract address, which is no path.
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as report:
            report.connect(address)
            report.sendall(b"READY=1")
    except OSError as exc:
        # The service manager will end the program, so the log must have the reason.
        log.error("start_not_reported", reason=exc.strerror)  # noqa: TRY400  # A trace would add nothing.
