"""A pytest plugin that keeps temporary files in memory, where the system has a folder for that.

A commit waits until the disk has written it, which takes milliseconds, and each test commits many times. No test
switches the machine off, so none depends on the disk itself.
"""

import os
import shutil
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")  # Folders of single tests are created in it with random names.
ENOUGH_BYTES = 2 * 1024**3
"""Many times the size of all temporary files of a run. Containers often have a folder of 64 MB."""


def pytest_configure() -> None:
    """Let this process and its children use the folder, unless the environment names another one."""
    if "TMPDIR" not in os.environ and is_suitable(IN_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


def is_suitable(folder: Path) -> bool:
    """Return whether the folder exists, has enough room, and may hold programs, as virtual environments do."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    is_for_programs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return is_for_programs and shutil.disk_usage(folder).free >= ENOUGH_BYTES
