"""The log of a service under attack reports no internal errors, and contains no content of requests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from contract_tests.attacks import (
    FORM,
    REFUSED_REFERENCE,
    attachment,
    file_part,
    form,
    message_part,
    post,
    request,
    text,
)
from contract_tests.target import CheckTarget

BUDKAVLE = Path(sys.executable).with_name("budkavle")
SECRET = "s3cr3t"


@dataclass
class Process:
    """The service as operators run it."""

    popen: subprocess.Popen[str]
    log: Path
    port: int
    key: str

    def attack(self, data: bytes, *, waits: bool = True) -> None:
        target = CheckTarget(f"http://127.0.0.1:{self.port}", api_key=self.key, is_direct=True)
        with target.connect() as connection:
            connection.send(data)
            if waits:
                connection.read_response()

    def stop(self) -> list[dict[str, Any]]:
        """Shut down gracefully and return the log entries."""
        self.popen.terminate()
        assert self.popen.wait(30) == 0
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUDKAVLE_")}
    environment = {**kept, "BUDKAVLE_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"}
    create = [BUDKAVLE, "api-key", "create", "attacker", "--scope", "messages"]
    key = subprocess.run(create, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [BUDKAVLE, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=file, text=True
        ) as popen,
    ):
        try:
            yield Process(popen, log, _port(popen.stdout), key)
        finally:
            popen.kill()


def _port(output: IO[str] | None) -> int:
    assert output is not None
    return int(output.readline().rsplit(":", 1)[1])


def test_log_reports_attacks_without_faults_and_without_their_content(process: Process) -> None:
    changes = {"externalReferences": [{**REFUSED_REFERENCE, "value": SECRET}], "message": SECRET}
    body = text(**changes, partyId=SECRET, sender={"userId": SECRET}, attachments=[attachment(fileName=SECRET)])
    taken = text(**changes, sender={"userId": SECRET}, attachments=[attachment(fileName=SECRET)])
    whole = [
        post(taken),
        post(body),
        post(taken + SECRET.encode()),
        post(body.replace(b"{", SECRET.encode())),
        post(b"[" * 100_000),
        post(form(message_part(taken), file_part(b"x", f'filename="{SECRET}"')), FORM),
        post(form(message_part(taken, SECRET)), FORM),
        post(SECRET.encode(), FORM),
        post(taken, SECRET),
        request(target=f"/webmessages/{SECRET}?{SECRET}={SECRET}"),
        request(target=f"/webmessages/external-references/{SECRET}/{SECRET}"),
        request(target=f"/{SECRET}", headers=[f"x-request-id: {SECRET}!", f"{SECRET}: {SECRET}"], key=SECRET),
        f"{SECRET}\r\n\r\n".encode(),
    ]
    cut = [
        post(body, headers=["Content-Length: 1000000"]),
        post(body + b" " * 2_000_000, headers=["Content-Length: 9000000"]),
        post(b"5\r\nab", headers=["Transfer-Encoding: chunked"]),
        post(f"{SECRET}\r\n".encode(), headers=["Transfer-Encoding: chunked"]),
        post(form(message_part(body))[:-20], FORM, headers=["Content-Length: 1000000"]),
        post(body)[:-100],
        post(taken),
    ]
    for data in whole:
        process.attack(data)
    for data in cut:
        process.attack(data, waits=False)
    process.attack(request())

    lines = process.stop()

    assert [line for line in lines if line["level"] not in {"info", "warning"}] == []
    assert [line for line in lines if line.get("status", 0) >= 500] == []
    assert len([line for line in lines if line["event"] == "request"]) >= len(whole)
    assert SECRET not in process.log.read_text()
    assert process.key not in process.log.read_text()
