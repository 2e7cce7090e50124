"""`budkavle receiver-check`: its options, exit codes, report and TLS."""

import json
import re
import signal
import ssl
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest

from budkavle.specs import find_spec_dir
from receiver_tests.cases import SUITES
from tests.certificates import Authority
from tests.processes import budkavle, running
from tests.receiver_tests.broken_receivers import BROKEN
from tests.receiver_tests.checking import run_check, serving_list
from tests.receiver_tests.right_receiver import Request, RightReceiver, serving
from tests.webhook_receivers import KEY, SECRET

SCREEN = 60


class UnsignedReceiver(RightReceiver):
    """A receiver without a secret."""

    def respond(self, request: Request) -> int | None:
        return self.accept(request) if request.method == "POST" else 405


class RecordingReceiver(RightReceiver):
    """A right receiver that keeps the bodies of deliveries."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def store(self, request: Request) -> None:
        super().store(request)
        self.bodies.append(request.body)


def server_context(authority: Authority, *, asks_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("127.0.0.1").file)
    if asks_for_certificate:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_broken_receiver_is_reported_on_one_screen(tmp_path: Path) -> None:
    with serving(BROKEN["verifies nothing"].receiver()) as url:
        result = run_check(url, tmp_path)

    assert result.exit_code == 1
    assert len(result.output.splitlines()) <= SCREEN
    assert re.search("^signatures: +37 checks, 33 failed", result.output, re.MULTILINE)
    assert "BREAKS the contract: " in result.output
    assert f". {tmp_path / 'report' / 'variables.sh'}" in result.output
    report = (tmp_path / "report" / "summary.txt").read_text()
    failed = {case.get("name"): case.find("failure") for case in read_cases(tmp_path)}
    failed = {name: failure for name, failure in failed.items() if failure is not None}
    assert len(failed) == int(re.findall("contract: ([0-9]+) failures", report)[0])
    for name, failure in failed.items():
        assert f": {name}\n" in report
        assert failure.get("message") in report
        assert "curl " in failure.text


def read_cases(folder: Path) -> list[ET.Element]:
    """Return the cases in the JUnit files of a report."""
    files = [folder / "report" / f"{suite}.xml" for suite in SUITES]
    return [case for file in files for case in ET.parse(file).getroot().iter("testcase")]


def test_report_has_each_case_and_no_secret(tmp_path: Path) -> None:
    with serving(RightReceiver()) as url:
        result = run_check(url, tmp_path)
    cases = read_cases(tmp_path)
    names = [case.name for suite in SUITES.values() for case in suite]
    assert [case.get("name") for case in cases] == names
    assert len(set(names)) == len(names)
    assert [case.find("skipped").get("message") for case in cases if len(case)] == ["needs --client-cert"]
    texts = [result.output, *(file.read_text("latin-1") for file in (tmp_path / "report").rglob("*") if file.is_file())]
    for secret in (SECRET.removeprefix("whsec_").rstrip("="), KEY.hex()):
        assert not any(secret in text for text in texts)


def test_secret_in_an_option_is_redacted(tmp_path: Path) -> None:
    with serving(RightReceiver()) as url, serving_list(list) as look:
        result = run_check(url, tmp_path, "--look", f"{look}?secret={SECRET}", "--suite", "repetitions")
    assert "done?secret=whsec_$WEBHOOK_SECRET" in result.output
    assert SECRET.removeprefix("whsec_").rstrip("=") not in result.output


def test_receiver_that_closes_connections_ends_the_check(tmp_path: Path) -> None:
    with serving(BROKEN["closes the connection"].receiver()) as url:
        result = run_check(url, tmp_path)
    assert result.exit_code == 1
    assert "deliveries: 3 cases in a row got no answer; the rest was not checked" in result.output
    assert "repetitions:" not in result.output


def test_fail_fast_ends_at_the_first_failure(tmp_path: Path) -> None:
    with serving(BROKEN["verifies nothing"].receiver()) as url:
        result = run_check(url, tmp_path, "--fail-fast")
    assert result.exit_code == 1
    assert "BREAKS the contract: 1 failures" in result.output
    assert "connections:" not in result.output


def test_receiver_without_a_secret_is_checked_without_signatures(tmp_path: Path) -> None:
    with serving(UnsignedReceiver()) as url:
        result = run_check(url, tmp_path, secret=None)
    assert result.exit_code == 0
    assert re.search(r"left out: 1 checks \(needs --client-cert\); [0-9]+ checks \(needs --secret\)", result.output)
    assert not (tmp_path / "report" / "variables.sh").exists()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_other_methods_may_close_the_connection(method: str, tmp_path: Path) -> None:
    class Closing(RightReceiver):
        def respond(self, request: Request) -> int | None:
            return super().respond(request) if request.method == "POST" else None

    with serving(Closing()) as url:
        assert run_check(url, tmp_path, "--case", method).exit_code == 0


def test_the_full_profile_sends_more(tmp_path: Path) -> None:
    receiver = RightReceiver()
    with serving(receiver) as url:
        result = run_check(url, tmp_path, "--profile", "full", "--case", "generated deliveries")
    assert result.exit_code == 0
    assert len(receiver.done) == 1 + 400


def test_valid_deliveries_fit_the_contract(tmp_path: Path) -> None:
    receiver = RecordingReceiver()
    schema = json.loads((find_spec_dir() / "deliveries.schema.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    with serving(receiver) as url:
        assert run_check(url, tmp_path).exit_code == 0
    assert len(receiver.bodies) > 50
    for body in receiver.bodies:
        validator.validate(json.loads(body))
        assert len(body) <= 131_072


def test_same_seed_generates_the_same_events(tmp_path: Path) -> None:
    def check(*options: str) -> list[dict]:
        receiver = RecordingReceiver()
        with serving(receiver) as url:
            assert run_check(url, tmp_path, "--suite", "deliveries", *options).exit_code == 0
        return [
            {name: value for name, value in json.loads(body).items() if name not in {"beskedId", "tidspunkt"}}
            for body in receiver.bodies
        ]

    assert check() == check()
    assert check() != check("--seed", "7")


def test_deliveries_are_of_the_given_subscription(tmp_path: Path) -> None:
    receiver = RecordingReceiver()
    options = ("--org-type", "8", "--org-code", "751", "--entity-type", "100008")
    with serving(receiver) as url:
        assert run_check(url, tmp_path, "--suite", "repetitions", *options).exit_code == 0
    events = [json.loads(body) for body in receiver.bodies]
    assert {(event["orgType"], event["orgCode"], event["entitetId"]) for event in events} == {(8, 751, 100008)}


@pytest.mark.parametrize(
    ("url", "options", "error"),
    [
        ("http://127.0.0.1:1/star", (), "cannot be reached (connect: "),
        ("http://receiver.invalid/", ("--allow-host", "receiver.invalid"), "cannot be reached (name"),
        ("http://192.0.2.1/", (), "add --allow-host 192.0.2.1"),
        ("http://127.0.0.1:1/", ("--look", "http://192.0.2.1/"), "add --allow-host 192.0.2.1"),
        ("ftp://127.0.0.1/", (), "must be like http://127.0.0.1:8080"),
        ("http://127.0.0.1:1/", ("--secret", "env:MISSING_SECRET"), "--secret: env:MISSING_SECRET is not set"),
        ("http://127.0.0.1:1/", ("--secret", "whsec_AAAA"), "--secret: a reference must be env:NAME or file:PATH"),
        ("http://127.0.0.1:1/", ("--case", "a new case"), "there is no case 'a new case'"),
        ("http://127.0.0.1:1/", ("--case", "GET", "--suite", "signatures"), "there is no case 'GET' in signatures"),
        ("http://127.0.0.1:1/", ("--spec", __file__), "is no contract of deliveries"),
    ],
)
def test_check_that_cannot_run_has_exit_code_2(url: str, options: tuple[str, ...], error: str, tmp_path: Path) -> None:
    result = run_check(url, tmp_path, *options)
    assert result.exit_code == 2
    assert error in result.output
    assert "AAAA" not in result.output


def test_secret_that_is_no_base64_is_not_printed(tmp_path: Path) -> None:
    result = run_check("http://127.0.0.1:1/", tmp_path, secret="pæssword-123")
    assert result.exit_code == 2
    assert "env:RECEIVER_SECRET contains no secret" in result.output
    assert "pæssword" not in result.output


@pytest.mark.parametrize("listed", [{"ids": []}, None, "text"])
def test_list_in_another_form_has_exit_code_2(listed: object, tmp_path: Path) -> None:
    with serving(RightReceiver()) as url, serving_list(lambda: listed) as look:
        result = run_check(url, tmp_path, "--look", look)
    assert result.exit_code == 2
    assert "must return a JSON list" in result.output


def test_list_that_arrives_in_parts_is_read_whole(tmp_path: Path) -> None:
    # Longer than what arrives at once.
    others = ["x" * 100] * 50_000
    receiver = RightReceiver()
    with serving(receiver) as url, serving_list(lambda: others + receiver.done) as look:
        result = run_check(url, tmp_path, "--look", look, "--case", "an event with all properties")
    assert result.exit_code == 0


def test_list_at_another_address_is_not_read(tmp_path: Path) -> None:
    class Redirecting(RightReceiver):
        def respond(self, request: Request) -> int | None:
            return 307 if request.method == "GET" else super().respond(request)

    receiver = Redirecting()
    with serving(receiver) as url:
        result = run_check(url, tmp_path, "--look", url)
    assert result.exit_code == 2
    assert "cannot be read: the answer is 307, which must be 200" in result.output


def test_receiver_with_tls_and_client_certificates_has_no_findings(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority, asks_for_certificate=True)
    options = ("--ca", str(authority.file), "--client-cert", str(authority.issue().file))
    with serving(RightReceiver(), context) as url:
        result = run_check(url, tmp_path, *options)
        assert result.exit_code == 0
        assert "a client certificate need not" in result.output
    with serving(UnsignedReceiver(), context) as url:
        result = run_check(url, tmp_path, *options, secret=None)
    assert result.exit_code == 0
    assert "needs --client-cert" not in result.output


def test_check_leaves_no_connection_open(tmp_path: Path) -> None:
    class Lingering(RightReceiver):
        class server_class(ThreadingHTTPServer):  # noqa: N801  # The name of the attribute.
            def shutdown_request(self, request: Any) -> None:
                receiver.has_ended.wait()
                super().shutdown_request(request)

    authority = Authority(tmp_path)
    receiver = Lingering()
    cases = ("--case", "an event with all properties", "--case", "a delivery while another one does not end")
    with serving(receiver, server_context(authority)) as url:
        result = run_check(url, tmp_path, "--ca", str(authority.file), *cases)
    # A warning about an open connection fails the test.
    assert result.exit_code == 0


def test_receiver_that_anyone_may_call_is_detected(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    options = ("--ca", str(authority.file), "--client-cert", str(authority.issue().file))
    with serving(UnsignedReceiver(), server_context(authority)) as url:
        result = run_check(url, tmp_path, *options, secret=None)
    assert result.exit_code == 1
    assert "a delivery without client certificate must be rejected: the answer is 204" in result.output


def test_certificate_of_an_unknown_authority_is_a_failure(tmp_path: Path) -> None:
    with serving(RightReceiver(), server_context(Authority(tmp_path))) as url:
        result = run_check(url, tmp_path)
    assert result.exit_code == 1
    assert "(tls: unable to get local issuer certificate; --ca names the CA of the receiver" in result.output


def test_report_names_the_options_that_may_be_missing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(RightReceiver(), server_context(authority, asks_for_certificate=True)) as url:
        result = run_check(url, tmp_path, "--ca", str(authority.file))
    assert result.exit_code == 1
    assert "; --client-cert presents a certificate, if the receiver requires one)" in result.output
    with serving(RightReceiver()) as url:
        result = run_check(url, tmp_path, "--fail-fast", secret=None)
    assert (
        "the answer is 401, so the delivery is parked; it is not signed, since --secret is not given" in result.output
    )


def test_list_of_other_ids_is_explained(tmp_path: Path) -> None:
    class ListsEvents(RightReceiver):
        def store(self, request: Request) -> None:
            self.done.append({"id": json.loads(request.body)["beskedId"]})

    receiver = ListsEvents()
    with serving(receiver) as url, serving_list(lambda: receiver.done) as look:
        result = run_check(url, tmp_path, "--look", look, "--fail-fast")
    assert "/done has it 0 times, but its beskedId: the list must have the webhook-id" in result.output


def test_client_certificate_needs_tls(tmp_path: Path) -> None:
    certificate = str(Authority(tmp_path).issue().file)
    result = run_check("http://127.0.0.1:1/", tmp_path, "--client-cert", certificate)
    assert result.exit_code == 2
    assert "a client certificate needs an https:// address" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_check_reports_so(number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()

    class Holding(RightReceiver):
        def accept(self, request: Request) -> int:
            if len(self.done) == 5:
                called.set()
                self.has_ended.wait()
            return super().accept(request)

    monkeypatch.setenv("RECEIVER_SECRET", SECRET)
    receiver = Holding()
    with serving(receiver) as url:
        command = budkavle("receiver-check", url, "--secret", "env:RECEIVER_SECRET")
        with running(*command, folder=tmp_path) as process:
            assert called.wait(60)
            process.send(number)
            assert process.wait() == 130
        assert "was interrupted" in "".join(process.out)
    accepted = (tmp_path / "receiver-report" / "accepted.txt").read_text().split()
    # The last one was not answered.
    assert accepted == receiver.list_ids()[:5]
