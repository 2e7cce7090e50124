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

    def install(folder: Path) -> None:
        for name in NODE_FILES:
            shutil.copy(project / name, folder)
        _run_npm(folder, "ci")

    return _make_node_once(b"".join((project / name).read_bytes() for name in NODE_FILES), install)


def install_node_program(package: str) -> Path:
    """Return the folder of the programs of a package with its version, as `npx` would install it, or skip the test."""
    return (
        _make_node_once(
            package.encode(), lambda folder: _run_npm(folder, "install", "--prefix", ".", "--prefer-offline", package)
        )
        / ".bin"
    )


def _make_node_once(content: bytes, install: Callable[[Path], None]) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("Node is not installed")
    return make_once("node", content, install) / "node_modules"


def _run_npm(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    options = ("--no-audit", "--no-fund", "--ignore-scripts")
    _run_installer(folder, "npm", *arguments, *options, environment=environment)


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


def read_texts(folder: Path) -> dict[str, str]:
    """Return the texts of all files below a folder, except installed packages."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files}
    return {name: path.read_text() for name, path in names.items() if not name.startswith(("node_modules", "__py"))}
