"""`budkavle contract-check` on a healthy service: what it finds, what it writes, and what it leaves behind."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree as ET

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY
from contract_tests.target import read_certificate
from tests.contract_tests.checking import Server
from tests.contract_tests.taping import taping
from tests.databases import with_database
from tests.persistence.rows import counts

BEFORE = [
    {"orgType": 1, "orgCode": code, "entityType": 202, "webhookUrl": "/before", "startDato": "2024-03-01T00:00:00"}
    # One of them where the harness puts its own.
    for code in (7, 66_600)
]


KIND_OF_FILES = {"rules", "schema-web-messages", "schema-subscriptions"}
SCREEN = 25


@pytest.fixture(scope="module")
def tapes() -> dict[str, list[bytes]]:
    """The requests of the runs of this module, by the kind of database."""
    return {}


@pytest.mark.parametrize("server", ["sqlite", "postgresql"], indirect=True)
def test_healthy_service_keeps_the_contract_and_is_left_as_it_was(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, tapes: dict[str, list[bytes]]
) -> None:
    with server.api() as api, taping(server.url) as tape:
        api.subscribe(*BEFORE)
        before = api.subscriptions()
        ended = replace(server, url=tape.url).check(tmp_path, "--spec", "all", "--profile", "quick")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert api.subscriptions() == before
    tapes[server.database_url.partition(":")[0]] = tape.requests()
    left = with_database(server.database_url, counts)
    assert not {"web_messages", "deliveries"} & set(left)
    assert left["subscriptions"] == len(BEFORE)
    assert_one_screen(ended.stdout)
    # Nothing of the progress is in a pipe.
    assert ended.stderr == ""
    assert "keeps the contract" in ended.stdout
    report = tmp_path / "report"
    assert {path.stem for path in report.glob("*.xml")} == KIND_OF_FILES
    for path in report.glob("*.xml"):
        cases = list(ET.parse(path).getroot().iter("testcase"))
        assert cases
        assert not any(case.find("failure") is not None or case.find("error") is not None for case in cases)
    assert "keeps the contract" in (report / "summary.txt").read_text()
    assert_no_secret(server, report, ended)
    files = {"report", "client.pem", "test.db", "test.db-wal", "test.db-shm"}
    assert {path.name for path in tmp_path.iterdir()} <= files


def test_same_seed_makes_the_same_cases(tapes: dict[str, list[bytes]]) -> None:
    """Two servers and two kinds of databases: what they are asked is the same."""
    first, second = (Counter(tapes[kind]) for kind in sorted(tapes))
    assert list((first - second).items())[:3] == list((second - first).items())[:3] == []
    in_order = [of_messages_in_order(tapes[kind]) for kind in sorted(tapes)]
    assert len(in_order[0]) > 1000
    assert in_order[0] == in_order[1]


def test_another_seed_makes_other_cases(server: Server, tmp_path: Path, tapes: dict[str, list[bytes]]) -> None:
    with taping(server.url) as tape:
        how = ("--spec", "web-messages", "--suite", "rules", "--seed", "8")
        ended = replace(server, url=tape.url).check(tmp_path, *how)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    posted = {request for request in tape.requests() if request.startswith(b"POST /webmessages")}
    known = posted & set(tapes["sqlite"])
    # Some are bad in a way that leaves nothing to be made up.
    assert 0 < len(known) < len(posted) / 2


def of_messages_in_order(requests: list[bytes]) -> list[bytes]:
    """All but the last rules, which send several requests at once, and the deletion of what they made."""
    of_messages = [request for request in requests if b" /webmessages" in request[:30]]
    begin = next(number for number, request in enumerate(of_messages) if b'"message": "Message 0"' in request)
    of_tool = [number for number, request in enumerate(of_messages) if b"User-Agent: schemathesis" in request]
    assert 0 < begin < of_tool[0]
    return of_messages[:begin] + of_messages[of_tool[0] : of_tool[-1] + 1]


def assert_one_screen(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) <= SCREEN
    assert all(len(line) <= 240 for line in lines)


def assert_no_secret(server: Server, report: Path, ended: CompletedProcess[str]) -> None:
    """Neither keys nor what is in the certificate, in any file and on the screen."""
    certificate = read_certificate(server.certificate, None).header.strip(":")
    said = {"the screen": (ended.stdout + ended.stderr).encode()}
    said |= {str(path): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    for name, data in said.items():
        for secret in (MESSAGES_KEY, PUBLISH_KEY, certificate, certificate[:40]):
            assert secret.encode() not in data, name
