"""Packages that tests install for other programs, and what these generate, by the content that determines them.

They stay in `build/` for later runs, because they take seconds. Tests must not change them.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

FOLDER = REPOSITORY / "build" / "installations"
SECONDS = 200
NODE_FILES = ("package.json", "package-lock.json")


def install_node_packages(project: Path) -> Path:
    """Return the `node_modules` of a project of Node. Skip the test if they cannot be installed."""
    if shutil.which("npm") is None:
        pytest.skip("Node is not installed")

    def install(folder: Path) -> None:
        for name in NODE_FILES:
            shutil.copy(project / name, folder)
        command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        environment = {**os.environ, "npm_config_update_notifier": "false"}
        _run_installer(folder, *command, environment=environment)

    return make_once("node", b"".join((project / name).read_bytes() for name in NODE_FILES), install) / "node_modules"


def install_python_packages(requirements: Path) -> Path:
    """Return a virtual environment with pinned requirements. Skip the test if they cannot be installed."""

    def install(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        options = ("--quiet", "--require-hashes", "--requirement", str(requirements))
        _run_installer(folder, str(folder / "bin" / "pip"), "install", *options, environment=os.environ)

    return make_once("python", requirements.read_bytes() + f"{sys.version} {sys.executable}".encode(), install)


def _run_installer(folder: Path, *command: str, environment: Mapping[str, str]) -> None:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False)
    if result.returncode != 0:
        pytest.skip("the packages could not be installed: there is no registry to be reached")


def make_once(kind: str, content: bytes, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` fills, if it is not there already. Other processes wait for the first one.

    All that determines the files must be in `content`.
    """
    folder = FOLDER / f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}"
    done = folder.with_suffix(".done")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
