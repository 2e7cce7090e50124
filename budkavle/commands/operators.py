"""The operator who runs a command, for the audit log."""

import getpass
import os


def get_operator(name: str | None = None) -> str:
    """Return the given name, or that of the user of the operating system who runs this process."""
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):
        # Containers run with user ids that have no name.
        return f"uid {os.getuid()}"
