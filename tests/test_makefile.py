"""The Makefile prints help by default, and finds a Python that can run the service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, run_program

MAKEFILE = REPOSITORY / "Makefile"
PROGRAMS = ("sh", "sed", "printf")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the folder, with only the programs in `bin` on the path."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("make is not installed")
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name) or name)
    return subprocess.run(
        [program, "-f", str(MAKEFILE), *arguments],
        cwd=folder,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def put_program(folder: Path, name: str, script: str) -> None:
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def put_python(
    folder: Path, name: str, *, version: str = "3, 99", is_optimised: bool = True, installs_pip: bool = False
) -> None:
    """Create a fake Python of a version and a build. It installs pip, which takes seconds, only on request."""
    build = "--enable-optimizations" if is_optimised else "--enable-shared"
    code = (
        f"import sys, sysconfig; sys.version_info = ({version}); sys.base_prefix = '/opt';"
        f" sysconfig.get_config_var = lambda _name: '{build}'; exec(sys.argv.pop(1))"
    )
    lines = [
        f'[ "$1" = -c ] && exec "{sys.executable}" -c "{code}" "$2"',
        *([] if installs_pip else [f'[ "$1 $2" = "-m venv" ] && exec "{sys.executable}" "$@" --without-pip']),
        f'exec "{sys.executable}" "$@"',
    ]
    put_program(folder, name, "\n".join(lines))


def test_make_prints_help_and_starts_nothing(tmp_path: Path) -> None:
    result = make(tmp_path)

    assert result.returncode == 0, result.stderr
    described = re.findall(r"^([a-z-]+):[^#\n]*## (.+)$", MAKEFILE.read_text(), re.MULTILINE)
    phony = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.read_text(), re.MULTILINE)[0].split()
    assert [name for name, _ in described] == phony
    for name, text in described:
        assert re.search(f"^  {name} +{re.escape(text)}$", result.stdout, re.MULTILINE), result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize("name", ["python3.12", "python3.13", "python3.14", "python3", "python"])
def test_make_uses_an_existing_python(name: str, tmp_path: Path) -> None:
    put_python(tmp_path, name, installs_pip=name == "python3")

    result = make(tmp_path, ".venv/bin/python")

    assert result.returncode == 0, result.stdout + result.stderr
    assert f"bin/{name}: Python {sys.version.split()[0]}" in result.stdout
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    assert (tmp_path / ".venv" / "bin" / "pip").exists() == (name == "python3")


def test_make_prefers_an_optimised_python(tmp_path: Path) -> None:
    put_python(tmp_path, "python3.11", is_optimised=False)
    put_python(tmp_path, "python3.12")

    result = make(tmp_path, ".venv/bin/python")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "bin/python3.12: Python" in result.stdout
    assert "without optimisations" not in result.stdout


def test_make_says_that_a_python_is_not_optimised(tmp_path: Path) -> None:
    put_python(tmp_path, "python3.11", is_optimised=False)

    result = make(tmp_path, ".venv/bin/python")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "bin/python3.11: Python" in result.stdout
    assert "This Python was built without optimisations" in result.stdout


def test_make_skips_unsuitable_pythons(tmp_path: Path) -> None:
    put_program(tmp_path, "python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    put_program(tmp_path, "python3.12", "exit 1  # Without ensurepip.")
    put_python(tmp_path, "python3", version="3, 10")
    put_python(tmp_path, "python")

    result = make(tmp_path, ".venv/bin/python")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "bin/python: " in result.stdout


def test_make_reports_what_is_missing(tmp_path: Path) -> None:
    put_python(tmp_path, "python3", version="3, 10, 13")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "mock_open_e").mkdir()
    for name in ("pyproject.toml", "mock_open_e/pyproject.toml", "requirements/contract.txt"):
        (tmp_path / name).touch()

    result = make(tmp_path, "run")

    assert result.returncode != 0
    assert "Python 3.11 or later with the modules venv and ensurepip is required" in result.stderr
    assert "make PYTHON=" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_uses_only_the_named_python(tmp_path: Path) -> None:
    put_python(tmp_path, "python3")
    put_python(tmp_path, "mine", version="3, 10")

    result = make(tmp_path, ".venv/bin/python", "PYTHON=mine")

    assert result.returncode != 0
    assert "None of these is usable: mine." in result.stderr


@pytest.mark.parametrize(
    ("text", "warning"),
    [("# Lonely\n", 'not included in the "nav"'), ("[dead](nowhere.md)\n", "'how-to/nowhere.md'")],
    ids=["page-outside-nav", "dead-link"],
)
def test_docs_fails_on_a_warning(text: str, warning: str, tmp_path: Path) -> None:
    pytest.importorskip("properdocs", reason="the requirements of `make docs` are not installed")
    for folder in ("docs", "site", "spec"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    for page in REPOSITORY.glob("*.md"):
        shutil.copy(page, tmp_path)
    page = "lonely" if text.startswith("#") else "upgrade"
    (tmp_path / "docs" / "how-to" / f"{page}.md").write_text(text)
    (arguments,) = re.findall(r"^\t\$\(BIN\)/properdocs (.*)$", MAKEFILE.read_text(), re.MULTILINE)

    result = run_program(sys.executable, "-m", "properdocs", *arguments.split(), folder=tmp_path)

    assert result.returncode != 0
    assert warning in result.stdout + result.stderr


def test_programs_of_the_environment_run_the_checkout(tmp_path: Path) -> None:
    """A copy in site-packages would hide every change of the mock from `make run`."""
    result = run_program(sys.executable, "-c", "import mock_open_e; print(*mock_open_e.__path__)", folder=tmp_path)

    assert result.stdout == f"{REPOSITORY / 'mock_open_e'}\n", result.stderr
