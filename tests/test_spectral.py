"""Spectral, an OpenAPI linter that partners use, accepts the contracts."""

import subprocess

from tests.installations import install_node_program
from tests.processes import REPOSITORY

LINTER = "@stoplight/spectral-cli@6.15.0"


def test_spectral_accepts_every_contract() -> None:
    program = install_node_program(LINTER) / "spectral"
    specs = [str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "spec").glob("*.yaml"))]

    result = subprocess.run(
        [program, "lint", "--ruleset", ".spectral.yaml", "--fail-severity", "hint", *specs],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
