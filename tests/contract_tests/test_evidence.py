"""The recorded responses of a suite, and how an interrupted suite ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contract_tests import evidence
from tests.processes import build_environment

SUITE = """
import os, signal
from contract_tests import evidence
evidence.end_after_next_response()
os.kill(os.getpid(), signal.SIGTERM)
evidence.record_request(evidence.SentRequest("POST", "/webmessages", {}))
print("still waiting", flush=True)
evidence.record_response(201, "/webmessages/1")
print("went on", flush=True)
"""


def test_only_created_objects_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_record = tmp_path / "run_record"
    monkeypatch.setenv(evidence.RUN_RECORD, str(run_record))
    evidence.record_response(201, "/webmessages/1")
    evidence.record_response(201, None)
    evidence.record_response(200, "/webmessages/2")
    assert run_record.read_text() == "made /webmessages/1\n"


def test_nothing_is_recorded_without_a_diary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(evidence.RUN_RECORD, raising=False)
    evidence.record_response(201, "/webmessages/1")


def test_interrupted_suite_records_the_response_first(tmp_path: Path) -> None:
    run_record = tmp_path / "run_record"
    result = subprocess.run(
        [sys.executable, "-c", SUITE],
        env=build_environment() | {evidence.RUN_RECORD: str(run_record)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (128 + signal.SIGTERM, "still waiting\n")
    assert run_record.read_text() == "made /webmessages/1\n"


def test_calls_of_one_check_are_stored_until_the_next() -> None:
    with evidence.recording() as sent:
        evidence.record_request(evidence.SentRequest("GET", "/a", {}))
        assert len(sent) == 1
    with evidence.recording() as sent:
        assert sent == []


def test_stored_bytes_are_limited() -> None:
    sent = evidence.SentBytes()
    for _ in range(3):
        sent.add(b"x" * evidence.KEPT_BYTES)
    assert (sent.size, len(sent.data)) == (3 * evidence.KEPT_BYTES, evidence.KEPT_BYTES)
