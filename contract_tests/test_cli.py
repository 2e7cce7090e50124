"""Run `schemathesis run` on `budkavle dev`: the examples of the contracts work, and our operations have no faults."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from budkavle.demo.subscriptions import CLIENT_CERT, SYSTEM_ID
from budkavle.demo.web_messages import KEY
from contract_tests.target import VARIABLE, CheckTarget, SubscriptionIdentity
from tests.processes import budkavle, running

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
CONFIG = ROOT / "contract_tests" / "schemathesis.toml"
OF_EXAMPLES = '[phases.examples.checks]\npositive_data_acceptance.expected-statuses = ["2xx", "404"]'
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("BUDKAVLE_", "SCHEMATHESIS_"))}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckTarget]:
    """Yield `budkavle dev` with its own mock Open-E and the rows that the examples refer to."""
    ports = ("--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0")
    with running(*budkavle("dev", *ports), folder=tmp_path_factory.mktemp("dev")) as process:
        yield CheckTarget(
            process.wait_for("API pages:").removesuffix("/docs"),
            system=SYSTEM_ID,
            queued_system=SYSTEM_ID,
            queued=SubscriptionIdentity(1, 101, 202),
            allowed=((1, 202), (2, 203)),
        )


@pytest.mark.parametrize("contract", ["web-messages", "subscriptions"])
def test_every_example_works(contract: str, dev: CheckTarget, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    shipped = CONFIG.read_text()
    assert OF_EXAMPLES in shipped
    # The demo has the rows that the examples refer to.
    config.write_text(shipped.replace(OF_EXAMPLES, OF_EXAMPLES.replace(', "404"', "")))
    assert "✅ Examples" in run(dev, contract, config, tmp_path, "--phases", "examples")


def test_schemathesis_finds_nothing_in_operations(dev: CheckTarget, tmp_path: Path) -> None:
    found = run(dev, "operations", CONFIG, tmp_path)
    for phase in ("Coverage", "Fuzzing"):
        assert f"✅ {phase}" in found


def run(dev: CheckTarget, contract: str, config: Path, folder: Path, *options: str) -> str:
    """Run Schemathesis, which must find nothing, and return its output."""
    target = folder / "target.json"
    dev.write(target)
    url = f"{dev.url}/docs/{contract}/openapi.json"
    command = [BIN / "schemathesis", "--config-file", config, "run", url, *options]
    headers = ["-H", f"apikey: {KEY}", "-H", f"Client-Cert: {CLIENT_CERT}"]
    done = subprocess.run(
        [*command, *headers],
        cwd=ROOT,
        env={**ENVIRONMENT, VARIABLE: str(target)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    return done.stdout
