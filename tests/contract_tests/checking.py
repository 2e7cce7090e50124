"""Run servers, and `budkavle contract-check` against them."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.demo.issuer import DemoIssuer
from budkavle.service import create_service
from budkavle.settings import Settings
from budkavle.specs import find_spec_dir
from conftest import MESSAGES_KEY, PUBLISH_KEY, running_server
from contract_tests.api import Api
from contract_tests.suites import EXAMPLES, Check
from contract_tests.target import CheckTarget, read_certificate
from domain.api_keys import ApiKey, hash_key
from tests.catalogue_rows import put_message_types, put_system
from tests.contract_tests.breakages import Case
from tests.contract_tests.broken_server import Breakage, add_breakage
from tests.factories import NOW
from tests.handlers.callers import create_certificate
from tests.shown_commands import read_block
from tests.warm_commands import build_path
from tests.warm_suites import WarmSuite

BUDKAVLE = Path(sys.executable).with_name("budkavle")
WITHOUT_TOKENS = {"needs a target that accepts tokens"}
"""The reasons for checks that are left out if the target has no issuers."""
ONLY_WITHOUT_TLS = WITHOUT_TOKENS | {"needs a proxy: an invalid certificate fails in the TLS handshake"}
"""The same if the target also serves TLS, and all else is known."""

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
CASE = "1068"
ALLOWED_PAIRS = ((1, 202), (1, 203))
"""The pairs of orgType and entityType that the server allows. A check of a few rules need not find them out."""
SEED = 20260301
"""The default of the command."""


@dataclass(frozen=True)
class Server:
    """The address of a server, and its callers."""

    url: str
    certificate: Path
    database_url: str
    issuer: DemoIssuer | None = None
    """The issuer whose tokens the server accepts."""

    def target(self, *scopes: str, **claims: object) -> CheckTarget:
        """Return the target that the command would check, with a token of these scopes if there are any."""
        certificate = read_certificate(self.certificate, None)
        target = CheckTarget(self.url, MESSAGES_KEY, PUBLISH_KEY, certificate, system=SYSTEM, case=int(CASE), seed=SEED)
        if self.issuer is None or not scopes:
            return target
        file = self.certificate.with_name("tokens")
        file.write_text(self.issuer.create_token(*scopes, **claims))
        return replace(target, token_file=str(file))

    @contextmanager
    def api(self) -> Iterator[Api]:
        """Yield its operations, for tests that verify the result of a check."""
        certificate = read_certificate(self.certificate, None)
        target = CheckTarget(self.url, MESSAGES_KEY, PUBLISH_KEY, certificate, system=SYSTEM, allowed=((1, 202),))
        api = Api(target, random.Random(0))
        yield api
        api.close()

    def command(self, folder: Path, *options: str) -> tuple[str, ...]:
        """Return the command of a team; its report is written to the folder."""
        return (
            *(str(BUDKAVLE), "contract-check", self.url, "--api-key", MESSAGES_KEY, "--publish-key", PUBLISH_KEY),
            *("--client-cert", str(self.certificate), "--case", CASE, "--report", str(folder / "report"), *options),
        )

    def check(self, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `contract-check` and return its result."""
        return self.run(folder, *self.command(folder, *options), **environment)

    def check_as_shown(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run the command that the reference shows and return its result; the report is in `contract-report`."""
        _, line = read_block("docs/reference/contract-check.md", "pip install").splitlines()
        places = {"http://127.0.0.1:8080": self.url, "client.pem": str(self.certificate)}
        keys = {"--api-key KEY": f"--api-key {MESSAGES_KEY}", "--publish-key KEY": f"--publish-key {PUBLISH_KEY}"}
        for written, here in (places | keys).items():
            assert line.count(written) == 1
            line = line.replace(written, here)
        return self.run(folder, "/bin/sh", "-c", line)

    def run(self, folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may take some minutes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUDKAVLE_")}
        return subprocess.run(
            command,
            cwd=folder,
            env={**inherited, "PATH": build_path(), **environment},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


@contextmanager
def running_target(
    database_url: str,
    open_e_url: str,
    folder: Path,
    breakage: Breakage | None = None,
    issuer: DemoIssuer | None = None,
    **overrides: Any,
) -> Iterator[Server]:
    """Run our service, intact or broken, in front of a mock Open-E. `overrides` are more of its settings."""
    certificate = create_certificate()
    put_message_types(database_url)
    put_system(database_url, SYSTEM, certificate.fingerprint)
    settings = Settings(
        database_url=database_url,
        open_e_external_url=f"{open_e_url}/external/api/callback",
        open_e_internal_url=f"{open_e_url}/internal/api/callback",
        trusted_proxies="127.0.0.1",
        issuers=None if issuer is None else issuer.write_files(folder),
        **overrides,
    )
    keys = (
        ApiKey(hash_key(MESSAGES_KEY.encode()), "tests", ("messages",), NOW),
        ApiKey(hash_key(PUBLISH_KEY.encode()), "publisher", ("publish",), NOW),
    )
    application: Any = create_service(settings, extra_keys=keys)
    file = folder / "client.pem"
    file.write_text(encode_pem(certificate.header))
    served = application if breakage is None else add_breakage(application, breakage)
    # The contract check judges the responses of a broken server, not the plugin of our tests.
    kind = "compatibility" if settings.compatibility_apis else "service"
    with running_server(settings, served, is_service=breakage is None, kind=kind) as url:
        yield Server(url, file, database_url, issuer)


def assert_no_findings(target: CheckTarget, folder: Path, capsys: pytest.CaptureFixture[str], *files: str) -> None:
    """Assert that the rules in these files have no findings, where all rules would take too long.

    The command runs in this process.
    """
    target = replace(target, allowed=ALLOWED_PAIRS)
    check = Check(target, find_spec_dir(), folder / "report", kinds=("rules",), only=files, start=WarmSuite)
    code = run_check(check)
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "keeps the contract" in printed
    assert parse_skip_reasons(printed) <= ONLY_WITHOUT_TLS
    assert "not cleaned up" not in printed


def start_with_few_examples(command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> WarmSuite:
    """Start a suite of generated requests with a quarter of the random ones, and with all others.

    Whole checks send all random requests; other tests concern their credentials, their addresses or their parameters.
    """
    at = command.index("--max-examples") + 1
    assert command[at] == str(EXAMPLES["quick"])
    return WarmSuite([*command[:at], str(EXAMPLES["quick"] // 4), *command[at + 1 :]], environment, log)


def parse_skip_reasons(printed: str) -> set[str]:
    """Return the reasons for skipped checks, from the output of the command."""
    line = next((line for line in printed.splitlines() if line.startswith("left out: ")), "")
    return set(re.findall(r"[0-9]+ checks? \(([^)]*)\)", line))


def encode_pem(header: str) -> str:
    """Return the certificate of a header as PEM."""
    return f"-----BEGIN CERTIFICATE-----\n{header.strip(':')}\n-----END CERTIFICATE-----\n"


def assert_caught(case: Case, server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert that the check of a case prints its words, and a line that reproduces the failure.

    The command runs in this process, and its suite runs only that check: the others prove nothing about this breakage.
    """
    code = run_check(
        Check(
            replace(server.target(*(case.token or ())), allowed=ALLOWED_PAIRS),
            find_spec_dir(),
            folder / "report",
            (case.spec,),
            case.profile,
            (case.suite,),
            fail_fast=True,
            only=() if case.check is None else (case.check,),
            start=WarmSuite,
        )
    )
    printed = capsys.readouterr().out
    assert code == 1, printed
    for words in ("BREAKS the contract", case.words, "reproduce with:", "curl"):
        assert words in printed, printed
