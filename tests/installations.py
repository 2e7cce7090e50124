"""Packages that tests install for programs in other environments, by the content of the files that pin them.

They stay in `build/` for later runs, because an installation takes seconds. Tests must not change them.
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

    def install(folder: Path) -> bool:
        for name in NODE_FILES:
            shutil.copy(project / name, folder)
        command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        environment = {**os.environ, "npm_config_update_notifier": "false"}
        return _run(folder, *command, environment=environment)

    return _install("node", b"".join((project / name).read_bytes() for name in NODE_FILES), install) / "node_modules"


def install_python_packages(requirements: Path) -> Path:
    """Return a virtual environment with pinned requirements. Skip the test if they cannot be installed."""

    def install(folder: Path) -> bool:
        venv.create(folder, with_pip=True)
        options = ("--quiet", "--require-hashes", "--requirement", str(requirements))
        return _run(folder, str(folder / "bin" / "pip"), "install", *options, environment=os.environ)

    return _install("python", requirements.read_bytes() + f"{sys.version} {sys.executable}".encode(), install)


def _run(folder: Path, *command: str, environment: Mapping[str, str]) -> bool:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False)
    return result.returncode == 0


def _install(kind: str, content: bytes, install: Callable[[Path], bool]) -> Path:
    """Return the folder of an installation, which one process makes while others wait for it."""
    folder = FOLDER / f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}"
    done = folder.with_suffix(".done")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if not install(folder):
                pytest.skip("the packages could not be installed: there is no registry to be reached")
            done.touch()
    return folder
