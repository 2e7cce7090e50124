"""A pytest plugin that lets tests interrupt programs, however the run was started.

A shell that runs a script starts its background jobs with SIGINT ignored. Each program inherits that from its parent,
so that the programs of the tests would ignore the signal too.
"""

import signal


def pytest_configure() -> None:
    """Handle SIGINT as Python does by default, if this process ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
