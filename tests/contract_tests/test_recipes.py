"""The pages on contract checks: recipes start what they need, and the reference names every option and suite.

The recipes run completely with whole checks: test_check_tls.py and test_check.py.
"""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from budkavle.commands.contract_check import contract_check
from contract_tests.suites import EXAMPLES, KINDS
from tests.contract_tests.recipes import GUIDE, OWN, RECIPES, parse_pipelines, run_steps
from tests.processes import REPOSITORY, build_environment
from tests.warm_commands import build_path

REFERENCE = (REPOSITORY / "docs" / "reference" / "contract-check.md").read_text()
MOCK_GUIDE = (REPOSITORY / "docs" / "how-to" / "mock-open-e.md").read_text()


def test_recipe_fails_when_our_service_does_not_start(tmp_path: Path) -> None:
    # Invalid settings that `serve` rejects, and that the preceding commands do not read.
    result = run_steps(OWN, tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"), BUDKAVLE_PORT="no port")

    assert result["Check"].returncode != 0
    assert not (tmp_path / "contract-report").exists()


def test_recipe_fails_with_the_error_of_a_mock_that_does_not_start(tmp_path: Path) -> None:
    with taken_port() as port:
        result = run_steps(OWN.replace("--port 0 --ready", f"--port {port} --ready"), tmp_path, GITHUB_STEP_SUMMARY="x")

    assert result["Check"].returncode != 0
    assert f"cannot listen on 127.0.0.1 port {port}: " in result["Check"].stderr
    assert not (tmp_path / "contract-report").exists()


@contextmanager
def taken_port() -> Iterator[int]:
    """Yield a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def read_mock_recipes() -> dict[str, str]:
    """Return the lines of the guide that start the mock in a pipeline, until it listens."""
    section = MOCK_GUIDE.split("\n## Run the mock in CI\n")[1].split("\n## ")[0]
    first, second = (
        yaml.safe_load(text) for text in re.findall("^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    )
    return {"GitHub": first["steps"][0]["run"], "GitLab": "\n".join(second["test"]["script"][:3])}


def run_lines(lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", lines],
        cwd=folder,
        env={**build_environment(), "PATH": build_path(), "GITHUB_ENV": "env", "GITHUB_JOB": "job", "CI_JOB_ID": "7"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("recipe", ["GitHub", "GitLab"])
def test_recipe_starts_the_mock(recipe: str, tmp_path: Path) -> None:
    lines = read_mock_recipes()[recipe] + '\ncurl -sS "$(cat mock.url)/control/overview"\nkill $!\nwait\n'

    result = run_lines(lines, tmp_path)

    assert result.returncode == 0, result.stderr
    assert "The mock Open-E listens on" in result.stdout


@pytest.mark.parametrize("recipe", ["GitHub", "GitLab"])
def test_pipeline_ends_with_the_error_of_a_mock_that_does_not_start(recipe: str, tmp_path: Path) -> None:
    with taken_port() as port:
        result = run_lines(read_mock_recipes()[recipe].replace("--port 0", f"--port {port}"), tmp_path)

    assert result.returncode != 0
    assert f"cannot listen on 127.0.0.1 port {port}: " in result.stderr
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_both_pipelines_run_the_same_commands(recipe: str) -> None:
    github, gitlab = parse_pipelines(RECIPES[recipe])
    named = {step.get("name"): step.get("run", "").strip() for step in github["steps"]}
    assert "\n".join(line.strip() for line in gitlab["script"]) == named["Check"]
    assert "\n".join(gitlab.get("before_script", [])) == named.get("Install", "")
    assert set(github.get("env", {})) - set(gitlab.get("variables", {})) <= {
        "BUDKAVLE_CHECK_API_KEY",
        "BUDKAVLE_CHECK_PUBLISH_KEY",
    }
    services = {service["alias"] for service in gitlab.get("services", [])}
    assert services == set(github.get("services", {}))
    assert gitlab["artifacts"]["reports"] == {"junit": "contract-report/*.xml"}


def test_installed_programs_exist_here() -> None:
    for name in re.findall(r"requirements/\S+\.txt", GUIDE):
        assert "--hash=" in (REPOSITORY / name).read_text()


def test_page_names_every_option() -> None:
    rows = re.findall(
        r"^\| `(--[a-z-]+|BASE_URL)`", REFERENCE.split("\n## Options\n")[1].split("\n## ")[0], re.MULTILINE
    )
    known = [
        parameter.opts[0] if parameter.opts[0].startswith("--") else "BASE_URL" for parameter in contract_check.params
    ]
    assert rows == known


def test_page_names_every_suite() -> None:
    rows = dict(
        re.findall(
            r"^\| `([a-z-]+)` \| .* \| (\S+) \| [^|]+ \|$",
            REFERENCE.split("\n## Suites and profiles\n")[1],
            re.MULTILINE,
        )
    )
    assert tuple(rows)[: len(KINDS)] == KINDS
    assert rows["schema"] == str(EXAMPLES["quick"])
