"""What a release promises: one version everywhere, and wheels that anybody can build again."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.set_version import find_versions, read_version
from tests.wheels import build, build_once, source  # noqa: F401  # A fixture.


def test_all_files_name_the_same_version() -> None:
    found = find_versions()
    assert {
        "pyproject.toml",
        "mock_open_e/pyproject.toml",
        "Containerfile",
        "docs/how-to/containers.md",
    } <= found.keys()
    assert {name: versions for name, versions in found.items() if versions != {read_version()}} == {}


@contextmanager
def private_files() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("project", [".", "mock_open_e"])
def test_same_commit_gives_the_same_wheel(project: str, source: Path, tmp_path: Path) -> None:  # noqa: F811
    """Another folder, umask and time zone, and files that have another age, change nothing."""
    first = build_once(source, project)
    with private_files():
        copy = tmp_path / "elsewhere"
        # New times, and of the modes only that of the owner, as `git clone` creates them with this umask.
        shutil.copytree(source, copy, copy_function=_copy_as_git)
        second = build(copy / project, tmp_path / "second", TZ="Pacific/Auckland")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def _copy_as_git(file: str, copy: str) -> None:
    shutil.copyfile(file, copy)
    Path(copy).chmod(Path(file).stat().st_mode & 0o700)
