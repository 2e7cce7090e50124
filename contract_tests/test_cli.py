"""`schemathesis run` as teams run it in their CI: schemathesis.toml, all phases and checks, warnings as errors."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PUBLISH_KEY
from contract_tests.conftest import Target

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("BUDKAVLE_", "SCHEMATHESIS_"))}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `budkavle dev` runs, with a mock Open-E of its own and the rows that the examples name."""
    folder = tmp_path_factory.mktemp("dev")
    command = [BIN / "budkavle", "dev", "--port", "0", "--mock-port", "0", "--receiver-port", "0"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log, text=True) as popen,
    ):
        try:
            assert popen.stdout is not None
            pages = (re.match(r"API pages: +(\S+)/docs$", line) for line in popen.stdout)
            yield next(page[1] for page in pages if page)
        finally:
            popen.kill()


@pytest.mark.parametrize("contract", ["operations", "web-messages"])
def test_schemathesis_finds_nothing(contract: str, dev: str) -> None:
    assert_nothing_is_found(f"{dev}/docs/{contract}/openapi.json", "apikey: demo")


@pytest.mark.one_database
def test_schemathesis_finds_nothing_in_subscriptions(target: Target) -> None:
    headers = (f"Client-Cert: {target.certificate.header}", f"apikey: {PUBLISH_KEY}")
    assert_nothing_is_found(f"{target.url}/docs/subscriptions/openapi.json", *headers)


def assert_nothing_is_found(contract: str, *headers: str) -> None:
    command = [BIN / "schemathesis", "run", contract, *(word for header in headers for word in ("-H", header))]

    run = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout
    for phase in ("Coverage", "Fuzzing"):
        assert f"✅ {phase}" in run.stdout
