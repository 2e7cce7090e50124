"""Spectral, an OpenAPI linter that partners use, accepts the contracts."""

import shutil
import subprocess

import pytest

from tests.processes import REPOSITORY

LINTER = "@stoplight/spectral-cli@6.15.0"


def test_spectral_accepts_every_contract() -> None:
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("npx is not installed")
    try:
        found = subprocess.run([npx, "--yes", LINTER, "--version"], capture_output=True, timeout=200, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{LINTER} could not be installed in time")
    if found.returncode != 0:
        pytest.skip(f"{LINTER} could not be installed")
    specs = [str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "spec").glob("*.yaml"))]

    result = subprocess.run(
        [npx, "--yes", LINTER, "lint", "--ruleset", ".spectral.yaml", "--fail-severity", "hint", *specs],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
