"""Run the receivers of the guide, unchanged."""

import base64
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.signing import read_secret
from tests.processes import REPOSITORY, running

GUIDE = REPOSITORY / "docs" / "how-to" / "receive-webhooks.md"
SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
KEY = read_secret(SECRET)

_PROGRAMS = {
    "Python": (sys.executable, "receiver.py"),
    "Python with aiohttp": (sys.executable, "receiver_aiohttp.py"),
    "Node": ("node", "receiver.mjs"),
    "PHP": ("php", "receiver.php"),
}
"""By heading of the guide: the program that runs a receiver, and the name of its file."""

RECEIVERS = tuple(_PROGRAMS)


@contextmanager
def running_receiver(heading: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a receiver, which stores deliveries in `inbox` in the folder."""
    program, name = _PROGRAMS[heading]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    section = GUIDE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```(?:python|js|php)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (folder / name).write_text(code)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PORT", "0")
    # PHP writes its address to standard error.
    command = ("/bin/sh", "-c", f"exec php -S 127.0.0.1:0 {name} 2>&1") if program == "php" else (program, name)
    with running(*command, folder=folder) as process:
        if program == "php":
            (address,) = re.findall(r"\((http://[^)]+)\) started", process.wait_for("["))
        else:
            address = process.wait_for("listening on ")
        yield address


def read_inbox(folder: Path) -> dict[str, bytes]:
    """Return the stored deliveries by name of their file."""
    inbox = folder / "inbox"
    return {path.name: path.read_bytes() for path in inbox.iterdir()} if inbox.is_dir() else {}
