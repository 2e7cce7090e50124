"""An intact server has no findings in any deployment: own TLS, behind nginx, below a base path, two replicas.

A whole check takes most of a minute on a slow machine, so each of them covers several properties of a deployment.
"""

import subprocess
from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from conftest import create_database
from contract_tests.suites import HERE, Check, find_spec
from tests.contract_tests.checking import (
    ONLY_WITHOUT_TLS,
    assert_no_findings,
    parse_skip_reasons,
    start_with_few_examples,
)
from tests.contract_tests.recipes import OWN, assert_reported, run_steps
from tests.contract_tests.sites import behind_nginx

OF_WEB_MESSAGES = [
    path.name for path in sorted((HERE / "rules").glob("test_*.py")) if find_spec(path.name) == "web-messages"
]
OF_SHARED_STATE = (
    *("test_web_message_together.py", "test_web_message_lists.py", "test_web_message_deletion.py"),
    *("test_subscription_together.py", "test_event_publishing.py", "test_delivery_lists.py"),
)


def test_recipe_for_our_service_works(tmp_path: Path) -> None:
    """The service has its own TLS, which sends a certificate with each request, even if it should be missing.

    Only subscriptions use certificates. The tests with nginx and TLS check web messages, and generate requests.
    """
    shown = tmp_path / "summary.md"
    command = "budkavle contract-check"
    assert OWN.count(f"\n{command} ") == 1

    steps = OWN.replace(f"\n{command} ", f"\n{command} --spec subscriptions --suite rules ")
    result = run_steps(steps, tmp_path, GITHUB_STEP_SUMMARY=str(shown))

    assert {name: step.returncode for name, step in result.items()} == {"Check": 0, "Show": 0}
    assert_clean(result["Check"])
    assert parse_skip_reasons(result["Check"].stdout) == ONLY_WITHOUT_TLS
    assert "keeps the contract" in shown.read_text()
    assert_reported(tmp_path, "rules-subscriptions")


def test_two_services_below_a_base_path_that_nginx_adds_to_locations_have_no_findings(
    open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All rules of web messages, and those of subscriptions whose responses contain paths."""
    request.param = "sqlite"
    url = create_database(request, tmp_path)
    with behind_nginx(url, open_e_url, tmp_path, services=2, base_path="/api", rewrites_locations=True) as site:
        assert_no_findings(
            site.target(), tmp_path, capsys, *OF_WEB_MESSAGES, "test_delivery_lists.py", "test_receipts.py"
        )


def test_two_services_behind_nginx_have_no_findings(
    open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules whose later requests use what another service stored, or that send requests at the same time."""
    request.param = "sqlite"
    with behind_nginx(create_database(request, tmp_path), open_e_url, tmp_path, services=2) as site:
        assert_no_findings(site.target(), tmp_path, capsys, *OF_SHARED_STATE)


def test_schemas_below_a_base_path_that_locations_lack_have_no_findings(
    open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """nginx responds to TRACE itself. Requests about subscriptions present a certificate in the TLS handshake."""
    request.param = "sqlite"
    with behind_nginx(create_database(request, tmp_path), open_e_url, tmp_path, base_path="/api") as site:
        check = Check(
            *(site.target(), find_spec_dir(), tmp_path / "report"),
            kinds=("schema",),
            only=("createWebMessage", "WebMessageById", "Abonnementer"),
            start=start_with_few_examples,
        )
        code = run_check(check)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "keeps the contract" in printed
    assert "not cleaned up" not in printed


def assert_clean(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout
    assert parse_skip_reasons(result.stdout) <= ONLY_WITHOUT_TLS
    assert "not cleaned up" not in result.stdout
