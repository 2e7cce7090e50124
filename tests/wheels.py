"""Wheels of both projects, and virtual environments with them."""

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.installations import make_once
from tests.processes import REPOSITORY, SECONDS
from tests.test_guards import PACKAGES

OURS = {"budkavle", "mock-open-e"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository, because a build leaves files behind."""
    pytest.importorskip("hatchling")
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "contract_tests", "deploy", "docs", "spec"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """Return the wheel of the service."""
    return build_once(source)


@pytest.fixture(scope="module")
def mock_wheel(source: Path) -> Path:
    """Return the wheel of the mock Open-E."""
    return build_once(source, "mock_open_e")


def build_once(source: Path, project: str = ".") -> Path:
    """Return a wheel of the same sources. `tests/test_release.py` checks that they determine it.

    In the folder `compiled` next to it are its modules in the form that Python compares with their sources.
    """
    digest = hashlib.sha256(f"{project} {sys.version} {metadata.version('hatchling')}".encode())
    for path in sorted(source.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(source)} {path.stat().st_mode} {len(content)}\n".encode() + content)

    def make(folder: Path) -> None:
        wheel = build(source / project, folder)
        compiled = folder / "compiled"
        zipfile.ZipFile(wheel).extractall(compiled)
        compileall.compile_dir(compiled, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        for path in compiled.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                path.unlink()

    (built,) = make_once("wheel", digest.digest(), make).glob("*.whl")
    return built


def build(source: Path, folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    variables = os.environ | environment
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.glob("*.whl")
    return built


def create_environment(folder: Path, requirements: Iterable[str], *wheels: Path) -> Path:
    """Make a virtual environment with wheels; return the folder of its programs.

    It has the distributions that `requirements` need, and no others. There may be no network, so they are links to
    those in the environment of the tests.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in list_required_distributions(requirements) - OURS:
        link_distribution(name, packages)
    install_wheels(folder, *wheels)
    return folder / "bin"


def install_wheels(folder: Path, *wheels: Path) -> None:
    """Install wheels in an environment, whose modules are compiled if `build_once` built them."""
    run_pip(folder, "install", "--no-deps", "--no-index", "--no-compile", *map(str, wheels))
    (packages,) = folder.glob("lib/python*/site-packages")
    for wheel in wheels:
        if (wheel.parent / "compiled").exists():
            shutil.copytree(wheel.parent / "compiled", packages, dirs_exist_ok=True)


def list_required_distributions(requirements: Iterable[str]) -> set[str]:
    """Return the names of all distributions that these requirements need, directly or not."""
    left = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                needed = map(Requirement, metadata.requires(name) or ())
                left += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def link_distribution(name: str, packages: Path) -> None:
    source = Path(sysconfig.get_path("purelib"))
    for top in {path.parts[0] for path in metadata.files(name) or () if path.parts[0] != ".."}:
        link = packages / top
        if top != "__pycache__" and not link.exists():
            link.symlink_to(source / top)


def run_pip(folder: Path, *arguments: str) -> None:
    """Run pip in an environment without it. `pip --python` does the same, but starts twice for it."""
    pip = Path(sysconfig.get_path("purelib"), "pip")
    command = [str(folder / "bin" / "python"), str(pip), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
