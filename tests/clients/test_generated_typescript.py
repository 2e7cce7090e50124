"""openapi-typescript generates strict types that detect mistakes, and a program calls every operation with them."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService
from mock_open_e import MockOpenE
from tests.catalogue_rows import put_system
from tests.clients.conftest import CASE
from tests.handlers.callers import create_certificate
from tests.installations import install_node_packages, make_once, read_texts
from tests.mock_servers import running_mock
from tests.processes import REPOSITORY
from tests.shown_commands import read_block

SPECS = sorted((REPOSITORY / "spec").glob("*.yaml"))
PROGRAM = REPOSITORY / "tests" / "clients" / "node"

GENERATOR = "node_modules/openapi-typescript/bin/cli.js"
COMPILER = "node_modules/typescript/bin/tsc"
SECONDS = 200

OUTCOMES: dict[str, tuple[int, int, str]] = {
    "createWebMessage": (201, 400, "message"),
    "getWebMessageById": (200, 404, "WebMessage with id '00000000-0000-4000-8000-000000000000' not found"),
    "deleteWebMessageById": (204, 400, "deleteWebMessageById.id"),
    "getWebMessagesByPartyId": (200, 400, "getWebMessagesByPartyId.limit"),
    "getWebMessagesByExternalReference": (200, 400, "getWebMessagesByExternalReference.key"),
    "getWebMessageAttachment": (200, 401, "A valid key in the header apikey is needed"),
    "syncWebhookAbonnementer": (200, 400, "1 orgType 150101"),
    "hentAbonnementer": (200, 403, "null null 1013"),
    "hentTilladteBeskedtyper": (200, 400, "null orgType 1014"),
    "opretBesked": (202, 409, "null null 150104"),
    "hentBeskedstatus": (200, 404, "null null 150106"),
    "hentBeskeder": (200, 400, "null limit 1014"),
    "hentKvitteringer": (200, 400, "null til 1014"),
    "genfremsendBeskeder": (200, 400, "null leveringIds 1014"),
    "sendTestbesked": (202, 404, "null null 150105"),
    "getHealthLive": (200, 400, "getHealthLive.verbose"),
    "getHealthReady": (200, 400, "getHealthReady.verbose"),
    "getMetrics": (200, 400, "getMetrics.verbose"),
    "getProtectedResource": (200, 400, "getProtectedResource.verbose"),
    "getHealth": (200, 400, "unknown parameter 'colour'"),
    "plantMessage": (201, 404, "the external instance has no case 7"),
    "getCase": (200, 404, "the case 7 of the external instance is not declared and has no data"),
    "listCases": (200, 400, "unknown parameter 'colour'"),
    "getFile": (200, 404, "there is no file with this SHA-256, or its bytes are no longer stored"),
    "listControlMessages": (200, 400, "unknown parameter 'colour'"),
    "expectMessages": (200, 408, "0 of 1 messages came within 0 seconds"),
    "clearControlMessages": (204, 400, "unknown parameter 'colour'"),
    "setConditions": (200, 400, "timeZone must be an IANA time zone that this machine knows"),
    "getConditions": (200, 400, "unknown parameter 'colour'"),
    "orderFault": (201, 400, "times must be a positive integer"),
    "listFaults": (200, 400, "unknown parameter 'colour'"),
    "removeFault": (204, 404, "there is no ordered fault 1, or it is used up"),
    "listFaultKinds": (200, 400, "unknown parameter 'colour'"),
    "clearFaults": (204, 400, "unknown parameter 'colour'"),
    "listCalls": (200, 400, "limit must be at least 1"),
    "getCall": (200, 404, "there is no call 3 in the journal, or it is no longer stored"),
    "clearCalls": (204, 400, "unknown parameter 'colour'"),
    "getOverview": (200, 400, "timeout must be at most 300"),
    "listNames": (200, 400, "unknown parameter 'colour'"),
    "resetWorld": (204, 400, "unknown parameter 'colour'"),
}
"""For each operation: the status of a valid call, the status of an invalid one, and the error that the program read."""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
    )


@pytest.fixture(scope="module")
def program() -> Path:
    """Return the folder of the program with the compiler, the types of each contract and what was compiled.

    The program calls every operation, and the compiler detected every mistake.
    """
    packages = install_node_packages(PROGRAM)
    # The guide lets npx install the generator; here it is installed with the compiler.
    npx, yes, generator, *words = shlex.split(
        read_block("docs/how-to/generate-a-client.md", "npx --yes openapi-typescript")
    )
    assert (npx, yes, generator) == ("npx", "--yes", "openapi-typescript@7")

    def build(folder: Path) -> None:
        shutil.copytree(PROGRAM, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(packages)
        (folder / "generated").mkdir()
        for spec in SPECS:
            generated = folder / "generated" / f"{spec.stem}.ts"
            places = {"spec/web-messages.yaml": str(spec), "web-messages.ts": str(generated)}
            assert set(places) < set(words)
            result = run(folder, "node", GENERATOR, *(places.get(word, word) for word in words))
            assert result.returncode == 0, result.stdout + result.stderr
        result = run(folder, "node", COMPILER)
        assert result.returncode == 0, result.stdout

    code = Path(__file__).read_text()
    texts = [code, str(packages), words, read_texts(PROGRAM), [(spec.name, spec.read_text()) for spec in SPECS]]
    return make_once("typescript", json.dumps(texts).encode(), build)


def test_types_detect_mistakes(program: Path, tmp_path: Path) -> None:
    """An undetected mistake and a missing operation are compile errors."""
    folder = tmp_path / "wrong"
    shutil.copytree(program, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(program / "node_modules")
    mistakes, calls = folder / "src" / "mistakes.ts", folder / "src" / "operations.ts"
    mistakes.write_text(mistakes.read_text().replace("aendringstype: 4", "aendringstype: 3"))
    calls.write_text(calls.read_text().replace("async getMetrics()", "async getMetric()"))
    result = run(folder, "node", COMPILER)
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("src")]
    assert [line.partition("(")[0] for line in errors] == ["src/mistakes.ts", "src/operations.ts"]
    assert "Unused '@ts-expect-error'" in errors[0]
    assert "getMetric" in errors[1]


@pytest.fixture
def given(running: RunningService) -> Iterator[str]:
    """Yield the input of the program, as `src/outcomes.ts` declares it."""
    certificate, system = create_certificate(), str(uuid4())
    put_system(running.settings.database_url.get_secret_value(), system, certificate.fingerprint)
    with running_mock(MockOpenE(cases={CASE})) as mock_url:
        yield json.dumps(
            {
                "service": running.url,
                "mock": mock_url,
                "messagesKey": MESSAGES_KEY,
                "publishKey": PUBLISH_KEY,
                "certificate": certificate.header,
                "system": system,
            }
        )


def test_program_calls_every_operation(program: Path, given: str) -> None:
    result = run(program, "node", "built/src/main.js", given)
    assert result.returncode == 0, result.stderr
    outcomes = {name: tuple(outcome.values()) for name, outcome in json.loads(result.stdout).items()}
    assert outcomes == OUTCOMES
