"""An intact server has no findings in any deployment: own TLS, behind nginx, below a base path, two replicas.

A whole check takes most of a minute on a slow machine, so each of them covers several properties of a deployment.
"""

import subprocess
from pathlib import Path

import pytest

from conftest import new_database
from tests.contract_tests.checking import ONLY_WITHOUT_TLS, left_out
from tests.contract_tests.recipes import OWN, assert_reported, run_steps
from tests.contract_tests.sites import behind_nginx


def test_recipe_for_our_service_works(tmp_path: Path) -> None:
    """The service has its own TLS, which sends a certificate with each request, even if it should be missing."""
    shown = tmp_path / "summary.md"

    done = run_steps(OWN, tmp_path, GITHUB_STEP_SUMMARY=str(shown))

    assert {name: step.returncode for name, step in done.items()} == {"Check": 0, "Show": 0}
    assert_clean(done["Check"])
    assert left_out(done["Check"].stdout) == ONLY_WITHOUT_TLS
    assert "keeps the contract" in shown.read_text()
    assert_reported(tmp_path)


def test_two_services_below_a_base_path_that_nginx_adds_to_locations_have_no_findings(
    open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.param = "sqlite"
    url = new_database(request, tmp_path)
    with behind_nginx(url, open_e_url, tmp_path, services=2, base_path="/api", rewrites_locations=True) as site:
        ended = site.server.check(tmp_path, *site.options, "--suite", "rules")

    assert_clean(ended)


def test_schemas_below_a_base_path_that_locations_lack_have_no_findings(
    open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """nginx responds to TRACE itself."""
    request.param = "sqlite"
    with behind_nginx(new_database(request, tmp_path), open_e_url, tmp_path, base_path="/api") as site:
        ended = site.server.check(tmp_path, *site.options, "--suite", "schema", "--spec", "web-messages")

    assert_clean(ended)


def assert_clean(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "keeps the contract" in ended.stdout
    assert left_out(ended.stdout) <= ONLY_WITHOUT_TLS
    assert "not cleaned up" not in ended.stdout
