"""`budkavle contract-check` of a compatibility API: on an intact server, on broken ones, and on one without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from budkavle.commands.checking import CannotCheck
from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from conftest import create_database
from contract_tests.suites import COMPATIBILITY_SPECS, Check, Profile
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse
from tests.contract_tests.checking import Server, running_target
from tests.warm_suites import WarmSuite

SPEC = "web-messages-3.2"


@contextmanager
def running(
    request: pytest.FixtureRequest, open_e_url: str, folder: Path, breakage: Breakage | None = None
) -> Iterator[Server]:
    request.param = "sqlite"
    apis = {"compatibility_apis": ",".join(COMPATIBILITY_SPECS), "municipalities": "2281"}
    with running_target(create_database(request, folder), open_e_url, folder, breakage, **apis) as server:
        yield server


def check(
    server: Server,
    folder: Path,
    spec: str = SPEC,
    municipality: str = "2281",
    kind: str = "rules",
    profile: Profile = "quick",
) -> int:
    """Return the exit code of the command, which runs the suite in this process."""
    target = replace(server.target(), municipality=municipality)
    report = folder / "report"
    return run_check(Check(target, find_spec_dir(), report, (spec,), profile, (kind,), start=WarmSuite))


async def write_status_as_object(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if not isinstance(value, dict) or not isinstance(value.get("status"), int):
        return response
    return response.with_json(value | {"status": {"statusCode": value["status"], "reasonPhrase": value["title"]}})


async def omit_files_in_lists(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if not isinstance(value, list):
        return response
    return response.with_json([message | {"attachments": []} for message in value])


async def write_instance_in_lower_case(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if not isinstance(value, dict) or "oepInstance" not in value:
        return response
    return response.with_json(value | {"oepInstance": value["oepInstance"].lower()})


async def forget_cache_headers(request: Request, forward: Forward) -> ServerResponse:
    return (await forward(request)).without("pragma")


@pytest.mark.parametrize("spec", COMPATIBILITY_SPECS)
def test_intact_server_keeps_the_contract(
    request: pytest.FixtureRequest, open_e_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str
) -> None:
    with running(request, open_e_url, tmp_path) as server:
        code = check(server, tmp_path, spec)
        printed = capsys.readouterr().out
        assert code == 0, printed
        assert "keeps the contract" in printed
        assert "not cleaned up" not in printed
        with pytest.raises(CannotCheck, match="does not serve municipality 2260: choose another --municipality"):
            check(server, tmp_path, spec, "2260")


async def accept_every_post(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return replace(response, status=201) if request.method == "POST" and response.status == 400 else response


@pytest.mark.parametrize("spec", COMPATIBILITY_SPECS)
@pytest.mark.parametrize(("breakage", "code"), [(None, 0), (accept_every_post, 1)], ids=["intact", "broken"])
def test_raw_bytes_are_sent_to_the_contract(
    request: pytest.FixtureRequest,
    open_e_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spec: str,
    breakage: Breakage | None,
    code: int,
) -> None:
    with running(request, open_e_url, tmp_path, breakage) as server:
        assert check(server, tmp_path, spec, kind="raw-bytes", profile="full") == code
    printed = capsys.readouterr().out
    assert "raw bytes" in printed
    assert ("keeps" in printed) == (code == 0), printed


BREAKAGES = {
    "status": (write_status_as_object, "status must be the integer"),
    "files": (omit_files_in_lists, "a list must contain the whole message"),
    "instance": (write_instance_in_lower_case, "ExTernal"),
    "caching": (forget_cache_headers, "Pragma must be 'no-cache'"),
}


@pytest.mark.parametrize(("breakage", "words"), BREAKAGES.values(), ids=BREAKAGES)
def test_broken_server_is_caught(
    request: pytest.FixtureRequest,
    open_e_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    breakage: Breakage,
    words: str,
) -> None:
    with running(request, open_e_url, tmp_path, breakage) as server:
        code = check(server, tmp_path)
    printed = capsys.readouterr().out
    assert code == 1, printed
    assert words in printed, printed
