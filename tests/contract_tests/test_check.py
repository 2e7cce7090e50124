"""`budkavle contract-check` on an intact service: its result, its report, and the rows that it leaves."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import structlog

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from conftest import MESSAGES_KEY, PUBLISH_KEY, create_database
from contract_tests.suites import SPECS, Check
from contract_tests.target import read_certificate
from openapi.application import read_spec
from tests.contract_tests.checking import WITHOUT_TOKENS, Server, parse_skip_reasons, running_target
from tests.contract_tests.recipes import OTHER_TEAM, assert_reported, run_steps
from tests.contract_tests.recording_proxy import running_proxy
from tests.databases import run_with_database
from tests.persistence.rows import count_rows
from tests.processes import run_program
from tests.shown_commands import read_block
from tests.warm_suites import WarmSuite

BEFORE = [
    {"orgType": 1, "orgCode": code, "entityType": 202, "webhookUrl": "/before", "startDato": "2024-03-01T00:00:00"}
    # One of them is in the folder that the check uses.
    for code in (7, 66_600)
]


KIND_OF_FILES = {"rules-web-messages", "rules-subscriptions", "schema-web-messages", "schema-subscriptions"}
SCREEN = 25
METHODS = {"get", "post", "put", "delete"}


@dataclass(frozen=True)
class WholeCheck:
    """A check of an intact server with the quick profile, and its results."""

    server: Server
    ended: CompletedProcess[str]
    work: Path
    """The working directory of the check."""
    requests: list[bytes]
    """The requests that the server received, as a `RecordingProxy` returns them."""
    before: list[dict[str, Any]]
    """The subscriptions of the system before the check."""
    after: list[dict[str, Any]]
    rows: dict[str, int]
    """The number of rows by table after the check."""
    errors: list[object]
    """The errors that the server logged."""

    @property
    def report(self) -> Path:
        return self.work / "contract-report"


def run_whole_check(
    request: pytest.FixtureRequest, folder: Path, open_e_url: str, run: Callable[[Server, Path], CompletedProcess[str]]
) -> WholeCheck:
    """Run a server on the database of the request's parameter, let `run` check it, and return the results."""
    with (
        running_target(create_database(request, folder), open_e_url, folder) as server,
        server.api() as api,
        running_proxy(server.url) as proxy,
    ):
        api.subscribe(*BEFORE)
        before = api.subscriptions()
        work = folder / "work"
        work.mkdir()
        with recording_errors() as errors:
            result = run(replace(server, url=proxy.url), work)
        after = api.subscriptions()
    rows = run_with_database(server.database_url, count_rows)
    return WholeCheck(server, result, work, proxy.requests(), before, after, rows, errors)


@contextmanager
def recording_errors() -> Iterator[list[object]]:
    """Yield a list that has the errors which this process has logged, when the block has ended."""
    errors: list[object] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = errors.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        with structlog.testing.capture_logs() as entries:
            yield errors
    finally:
        logging.getLogger().removeHandler(handler)
    errors += [entry for entry in entries if entry["log_level"] == "error"]


@pytest.fixture(scope="module")
def on_sqlite(request: pytest.FixtureRequest, open_e_url: str, tmp_path_factory: pytest.TempPathFactory) -> WholeCheck:
    """Run the check of the recipe for another implementation."""

    def run(server: Server, work: Path) -> CompletedProcess[str]:
        (work / "ci").mkdir()
        (work / "ci" / "client.pem").write_text(server.certificate.read_text())
        return run_steps(
            OTHER_TEAM,
            work,
            # A name of this machine that the check does not recognise as such.
            TARGET_HOST="127.1",
            TARGET_PORT=str(urlsplit(server.url).port),
            BUDKAVLE_CHECK_API_KEY=MESSAGES_KEY,
            BUDKAVLE_CHECK_PUBLISH_KEY=PUBLISH_KEY,
        )["Check"]

    request.param = "sqlite"
    return run_whole_check(request, tmp_path_factory.mktemp("sqlite"), open_e_url, run)


@pytest.fixture(scope="module")
def on_postgresql(
    request: pytest.FixtureRequest, open_e_url: str, tmp_path_factory: pytest.TempPathFactory
) -> WholeCheck:
    """Run the check with the command that the reference shows."""
    request.param = "postgresql"
    folder = tmp_path_factory.mktemp("postgresql")
    return run_whole_check(request, folder, open_e_url, lambda server, work: server.check_as_shown(work))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_intact_service_has_no_findings_and_is_left_unchanged(kind: str, request: pytest.FixtureRequest) -> None:
    check: WholeCheck = request.getfixturevalue(f"on_{kind}")
    result = check.ended
    assert result.returncode == 0, result.stdout + result.stderr
    assert check.after == check.before
    assert not {"web_messages", "deliveries"} & set(check.rows)
    assert check.rows["subscriptions"] == len(BEFORE)
    assert_one_screen(result.stdout)
    # A pipe gets no progress output.
    assert result.stderr == ""
    assert "keeps the contract" in result.stdout
    # contract_tests/conftest.py relies on this: no other rule is left out on either database.
    assert parse_skip_reasons(result.stdout) == WITHOUT_TOKENS
    assert {path.stem for path in check.report.glob("*.xml")} == KIND_OF_FILES
    for path in check.report.glob("*.xml"):
        cases = list(ET.parse(path).getroot().iter("testcase"))
        assert cases
        assert not any(case.find("failure") is not None or case.find("error") is not None for case in cases)
    assert "keeps the contract" in (check.report / "summary.txt").read_text()
    assert_no_secret(check.server, check.report, result)
    assert check.errors == []
    assert {path.name for path in check.work.iterdir()} <= {"ci", "contract-report"}


OPERATIONS = [
    (contract, label)
    for contract in SPECS
    for path, item in read_spec(find_spec_dir(), contract)["paths"].items()
    for label in (*(f"{method.upper()} {path}" for method in item if method in METHODS), "Stateful tests")
]


@pytest.mark.parametrize(("contract", "operation"), dict.fromkeys(OPERATIONS))
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_operation_was_checked(kind: str, contract: str, operation: str, request: pytest.FixtureRequest) -> None:
    """Schemathesis generated valid and invalid data, edge cases, and sequences of calls."""
    check: WholeCheck = request.getfixturevalue(f"on_{kind}")
    cases = ET.parse(check.report / f"schema-{contract}.xml").getroot().iter("testcase")
    [case] = [case for case in cases if case.get("name") == operation]
    # It was not skipped either.
    assert list(case) == []


def test_recipe_for_another_implementation_works(on_sqlite: WholeCheck) -> None:
    assert on_sqlite.ended.returncode == 0
    assert "http://127.1:" in on_sqlite.ended.stdout
    assert "keeps the contract" in on_sqlite.ended.stdout
    assert_reported(on_sqlite.work, *KIND_OF_FILES)


def test_commands_of_a_report_are_pasted_as_the_reference_shows(on_postgresql: WholeCheck, server: Server) -> None:
    script = read_block("docs/reference/contract-check.md", "API_KEY=").replace("http://127.0.0.1:8080", server.url)
    script = script.replace("API_KEY=… PUBLISH_KEY=…", f"API_KEY={MESSAGES_KEY} PUBLISH_KEY={PUBLISH_KEY}")
    result = run_program("/bin/sh", "-e", "-c", f'{script}\necho "$CLIENT_CERT"', folder=on_postgresql.work)
    # Its party is no UUID.
    assert result.stdout.startswith("HTTP/1.1 400 ")
    certificate = read_certificate(on_postgresql.server.certificate, None)
    assert result.stdout.endswith(f"{certificate.header}\n")


def test_same_seed_generates_the_same_requests(on_sqlite: WholeCheck, on_postgresql: WholeCheck) -> None:
    """Two servers with different databases get the same requests."""
    first, second = Counter(on_sqlite.requests), Counter(on_postgresql.requests)
    assert list((first - second).items())[:3] == list((second - first).items())[:3] == []
    in_order = [select_sequential_requests(check.requests) for check in (on_sqlite, on_postgresql)]
    assert len(in_order[0]) > 1000
    assert in_order[0] == in_order[1]


def test_another_seed_generates_other_requests(server: Server, tmp_path: Path, on_sqlite: WholeCheck) -> None:
    files = ("test_web_message_round_trip.py", "test_web_message_faults.py")
    with running_proxy(server.url) as proxy:
        target = replace(replace(server, url=proxy.url).target(), seed=8)
        check = Check(
            *(target, find_spec_dir(), tmp_path / "report", ("web-messages",)),
            kinds=("rules",),
            only=files,
            start=WarmSuite,
        )
        assert run_check(check) == 0
    posted = {request for request in proxy.requests() if request.startswith(b"POST /webmessages")}
    known = posted & set(on_sqlite.requests)
    # Some invalid requests contain nothing random.
    assert 0 < len(known) < len(posted) / 2


def select_sequential_requests(requests: list[bytes]) -> list[bytes]:
    """Return the requests without the last rules, which send concurrent requests, and without the cleanup."""
    of_messages = [request for request in requests if b" /webmessages" in request[:30]]
    # The first of them to arrive may be any of the messages that this rule creates.
    begin = next(number for number, request in enumerate(of_messages) if b'"message": "Message ' in request)
    of_tool = [number for number, request in enumerate(of_messages) if b"User-Agent: schemathesis" in request]
    assert 0 < begin < of_tool[0]
    return of_messages[:begin] + of_messages[of_tool[0] : of_tool[-1] + 1]


def assert_one_screen(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) <= SCREEN
    assert all(len(line) <= 240 for line in lines)


def assert_no_secret(server: Server, report: Path, result: CompletedProcess[str]) -> None:
    """Assert that no file and no output contains a key or the content of the certificate."""
    certificate = read_certificate(server.certificate, None).header.strip(":")
    outputs = {"the screen": (result.stdout + result.stderr).encode()}
    outputs |= {str(path): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    for name, data in outputs.items():
        for secret in (MESSAGES_KEY, PUBLISH_KEY, certificate, certificate[:40]):
            assert secret.encode() not in data, name
