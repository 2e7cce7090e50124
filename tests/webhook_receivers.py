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

LANGUAGES = ("python", "node", "php")

_FENCES = {"python": "python", "node": "js", "php": "php"}
_COMMANDS = {
    "python": (sys.executable, "receiver.py"),
    "node": ("node", "receiver.mjs"),
    # It writes its address to standard error.
    "php": ("/bin/sh", "-c", "exec php -S 127.0.0.1:0 receiver.php 2>&1"),
}


@contextmanager
def running_receiver(language: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a receiver, which stores deliveries in `inbox` in the folder."""
    if shutil.which(_COMMANDS[language][0]) is None or (language == "php" and shutil.which("php") is None):
        pytest.skip(f"{language} is not installed")
    (code,) = re.findall(rf"^```{_FENCES[language]}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    name = {"python": "receiver.py", "node": "receiver.mjs", "php": "receiver.php"}[language]
    (folder / name).write_text(code)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PORT", "0")
    with running(*_COMMANDS[language], folder=folder) as process:
        if language == "php":
            (address,) = re.findall(r"\((http://[^)]+)\) started", process.wait_for("["))
        else:
            address = process.wait_for("listening on ")
        yield address


def read_inbox(folder: Path) -> dict[str, bytes]:
    """Return the stored deliveries by name of their file."""
    inbox = folder / "inbox"
    return {path.name: path.read_bytes() for path in inbox.iterdir()} if inbox.is_dir() else {}
