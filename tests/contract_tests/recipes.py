"""Run the recipes of the page on contract checks.

Of GitHub's YAML, all steps with a `run` are executed, except those named Install; GitLab's `script` must equal the step
named Check. Installation steps and features of the pipelines themselves (`uses`, `before_script`, services) are not
executed: the programs of this environment are on the path, and the services are on ports of this machine.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import yaml

from tests.processes import REPOSITORY, build_environment
from tests.warm_commands import build_path

GUIDE = (REPOSITORY / "docs" / "how-to" / "contract-check.md").read_text()
OWN, OTHER_TEAM = (section for section in GUIDE.split("\n## ") if section.startswith("Recipe: "))
RECIPES = {"own": OWN, "another's": OTHER_TEAM}


def parse_files(section: str) -> dict[str, str]:
    """Return the files that a recipe adds to the repository, by path."""
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def parse_pipelines(section: str) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return GitHub's and GitLab's pipelines, parsed as they parse them."""
    first, second = re.findall(r"^```yaml\n# \.git(?:hub|lab)\S+\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(first)["jobs"]["contract-check"], yaml.safe_load(second)["contract-check"]


def parse_steps(section: str) -> Iterator[tuple[str, str]]:
    """Yield name and lines of each step that is executed here."""
    github, _ = parse_pipelines(section)
    for step in github["steps"]:
        assert ("run" in step) != ("uses" in step)
        if "run" in step and step["name"] != "Install":
            yield step["name"], step["run"]


def run_steps(section: str, folder: Path, **variables: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """Return the result of each step, run in a folder with only the files of the page."""
    for name, text in parse_files(section).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    result = {
        name: subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", lines],
            cwd=folder,
            env={**build_environment(), "PATH": build_path(), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        for name, lines in parse_steps(section)
    }
    sys.stdout.write("".join(f"--- {name}\n{step.stdout}{step.stderr}" for name, step in result.items()))
    return result


def assert_reported(folder: Path, *suites: str) -> None:
    """Assert that the pipelines store a report of each of these suites, as JUnit XML."""
    assert {path.stem for path in (folder / "contract-report").glob("*.xml")} == set(suites)
    for name in suites:
        assert list(ET.parse(folder / "contract-report" / f"{name}.xml").getroot().iter("testcase"))
