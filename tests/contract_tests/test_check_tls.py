"""An intact server has no findings in any deployment: own TLS, behind nginx, below a base path, two replicas."""

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from conftest import new_database
from tests.contract_tests.checking import ONLY_WITHOUT_TLS, left_out
from tests.contract_tests.sites import Site, behind_nginx, direct

SITES: dict[str, Callable[..., AbstractContextManager[Site]]] = {
    "direct TLS": direct,
    "nginx": behind_nginx,
    "nginx with a base path": partial(behind_nginx, base_path="/api"),
    "nginx that rewrites places": partial(behind_nginx, base_path="/api", rewrites_locations=True),
    "two behind nginx": partial(behind_nginx, services=2),
}


@pytest.mark.parametrize("kind", ["direct TLS", "nginx that rewrites places", "two behind nginx"])
def test_intact_server_has_no_findings(
    kind: str, open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.param = "sqlite"
    with SITES[kind](new_database(request, tmp_path), open_e_url, tmp_path) as site:
        ended = site.server.check(tmp_path, *site.options, "--suite", "rules")

    assert_clean(ended)


@pytest.mark.parametrize(
    ("kind", "spec"), [("nginx with a base path", "web-messages"), ("direct TLS", "subscriptions")]
)
def test_schemas_have_no_findings(
    kind: str, spec: str, open_e_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """nginx responds to TRACE itself, and TLS sends a certificate with each request, even if it should be missing."""
    request.param = "sqlite"
    with SITES[kind](new_database(request, tmp_path), open_e_url, tmp_path) as site:
        ended = site.server.check(tmp_path, *site.options, "--suite", "schema", "--spec", spec)

    assert_clean(ended)


def assert_clean(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "keeps the contract" in ended.stdout
    assert left_out(ended.stdout) <= ONLY_WITHOUT_TLS
    assert "not cleaned up" not in ended.stdout
