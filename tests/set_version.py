"""Write a version into every file that names one: `make version VERSION=1.2.3`."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.version import Version

from tests.processes import REPOSITORY

_NAMED = re.compile(
    r"(?P<before>"
    r"(?m:^version = \")"  # Of a project.
    r"|(?m:^ARG VERSION=)"  # Of an image.
    r"|(?m:^ +newTag: )"  # Of an image in a cluster.
    r"|\b(?:budkavle|mock[-_]open[-_]e)[-:]"  # Of a wheel, folder or image.
    r")(?P<version>\d+\.\d+\.\d+)\b"
)
_FILES = (
    "pyproject.toml",
    "mock_open_e/pyproject.toml",
    "Containerfile*",
    "deploy/**/*",
    "docs/how-to/*.md",
    "docs/reference/*.md",
    "docs/tutorial/*.md",
    "README.md",
)


def read_version() -> str:
    """Return the version of the project."""
    version: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    return version


def find_versions() -> dict[str, set[str]]:
    """Return the versions that each file names, by path."""
    return {
        str(path.relative_to(REPOSITORY)): {match["version"] for match in found}
        for path in _list_files()
        if (found := list(_NAMED.finditer(path.read_text(encoding="utf-8"))))
    }


def set_version(version: Version) -> None:
    """Replace all versions."""
    for name in find_versions():
        path = REPOSITORY / name
        text = path.read_text(encoding="utf-8")
        path.write_text(_NAMED.sub(lambda match: f"{match['before']}{version}", text), encoding="utf-8")


def _list_files() -> list[Path]:
    return [path for pattern in _FILES for path in sorted(REPOSITORY.glob(pattern)) if path.is_file()]


if __name__ == "__main__":
    set_version(Version(sys.argv[1]))
