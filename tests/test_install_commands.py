"""The commands of the documentation that install Budkavle and its mock, run as the pages show them.

There may be no network, so the requirements are in the environment already, as links to those of the tests. pip then
compares them with the locked versions.
"""

import shutil
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest

from tests.contract_tests.recipes import OWN, parse_pipelines
from tests.processes import REPOSITORY, build_environment, running
from tests.shown_commands import list_commands_in_text, read_block
from tests.wheels import (  # The fixtures build the wheels.
    OURS,
    link_distribution,
    mock_wheel,  # noqa: F401
    source,  # noqa: F401
    wheel,  # noqa: F401
)

SECONDS = 120
REFERENCE = "docs/reference/contract-check.md"


@pytest.fixture(scope="module")
def checkout(source: Path, wheel: Path, mock_wheel: Path) -> Path:  # noqa: F811
    """A copy of the repository after `make wheel`."""
    shutil.copytree(REPOSITORY / "requirements", source / "requirements")
    (source / "dist").mkdir()
    for file in (wheel, mock_wheel):
        shutil.copy(file, source / "dist")
    return source


class Environment:
    """A virtual environment with the requirements, and a shell that uses it."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        for name in {distribution.name for distribution in metadata.distributions()} - OURS:
            link_distribution(name, packages)
        self.programs = folder / "bin"
        self._put("pip", "exec python -m pip --disable-pip-version-check")
        self._settings = build_environment() | {
            "PATH": f"{self.programs}:{build_environment()['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "dist",
            # Programs compile the modules that they use.
            "PIP_COMPILE": "0",
        }

    def _put(self, name: str, command: str) -> None:
        (self.programs / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
        (self.programs / name).chmod(0o755)

    def paste(self, script: str, folder: Path) -> str:
        """Run lines in a shell, and return what they wrote."""
        result = subprocess.run(
            ["/bin/sh", "-e", "-c", script],
            cwd=folder,
            env=self._settings,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def list_installed(self) -> set[str]:
        """Return which of our distributions are installed."""
        (packages,) = self.programs.parent.glob("lib/python*/site-packages")
        return {found.name for found in metadata.distributions(path=[str(packages)])} & OURS


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def test_service_is_installed_as_the_guide_shows(empty: Environment, checkout: Path) -> None:
    out = empty.paste(read_block("docs/how-to/deploy.md", "pip install") + "budkavle --version\n", checkout)
    assert "Collecting" not in out
    assert empty.list_installed() == {"budkavle"}
    assert out.splitlines()[-1] == f"budkavle, version {metadata.version('budkavle')}"
    for page in ("traces", "switch-from-web-message-sender"):
        assert "Collecting" not in empty.paste(read_block(f"docs/how-to/{page}.md", "pip install"), checkout)


def test_mock_is_installed_and_started_as_the_guide_shows(empty: Environment, checkout: Path) -> None:
    *install, start = read_block("docs/how-to/mock-open-e.md", "pip install").splitlines()
    empty.paste("\n".join(install), checkout)
    assert empty.list_installed() == {"mock-open-e"}
    assert start == "mock-open-e --port 8081"
    program = str(empty.programs / "mock-open-e")
    with running(program, "--port", "0", folder=checkout) as process:
        process.wait_for("The mock Open-E listens on ")


def test_contract_check_is_installed_as_the_reference_shows(empty: Environment, checkout: Path) -> None:
    install = read_block(REFERENCE, "pip install").splitlines()[0]
    out = empty.paste(f"{install}\nbudkavle contract-check --help\n", checkout)
    assert empty.list_installed() == {"budkavle"}
    assert "Check whether the server" in out


def test_pipeline_installs_the_checkout_or_the_wheels(empty: Environment, checkout: Path) -> None:
    github, _ = parse_pipelines(OWN)
    (install,) = [step["run"] for step in github["steps"] if step.get("name") == "Install"]
    empty.paste(install, checkout)
    assert empty.list_installed() == OURS
    (other,) = [line for line in list_commands_in_text(REPOSITORY / "docs/how-to/contract-check.md") if "*.whl" in line]
    empty.paste(f"pip uninstall --yes {' '.join(OURS)}", checkout)
    empty.paste(other, checkout / "dist")
    assert empty.list_installed() == OURS
