"""The mock as a command: its ready file, its shutdown, and the examples of the guide."""

import re
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest
import requests
import yaml

from tests.mock_open_e.posting import post
from tests.processes import REPOSITORY, budkavle, run_program, running
from tests.warm_commands import build_path

GUIDE = (REPOSITORY / "docs" / "how-to" / "mock-open-e.md").read_text()
CONTROL = GUIDE.split("\n## Check what your client did\n")[1].split("\n## ")[0]
CI = GUIDE.split("\n## Run the mock in CI\n")[1].split("\n## ")[0]
CLIENT = """#!/bin/bash
curl -sS --fail-with-body "$1" -H 'Content-Type: text/xml; charset=utf-8' -d '
<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
<addMessage xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback"><flowInstanceID>1068</flowInstanceID>
<message><added>2026-01-01</added><message>It has arrived</message></message></addMessage></Body></Envelope>'
"""


def test_ready_file_contains_the_address_while_the_mock_listens(tmp_path: Path) -> None:
    ready = tmp_path / "mock.url"
    ready.write_text("of an earlier run")
    with running(*budkavle("mock-open-e", "--port", "0", "--ready-file", str(ready))) as process:
        url = process.wait_for("The mock Open-E listens on ")
        assert ready.read_text() == f"{url}\n"
        assert list(tmp_path.iterdir()) == [ready]
        assert requests.get(f"{url}/control/messages", timeout=5).json() == []
        process.send(signal.SIGINT)
        assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []
    assert process.err == []


def test_unwritable_ready_file_stops_the_start(tmp_path: Path) -> None:
    result = run_program(*budkavle("mock-open-e", "--port", "0", "--ready-file", str(tmp_path / "none" / "mock.url")))
    assert result.returncode == 1
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr


def test_stop_responds_to_waiting_callers(tmp_path: Path) -> None:
    responses: list[int] = []
    with running(*budkavle("mock-open-e", "--port", "0")) as process:
        url = process.wait_for("The mock Open-E listens on ")
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as waiting:
            waiting.sendall(b"GET /s/a/control/expect?timeout=300 HTTP/1.1\r\nHost: x\r\n\r\n")
            # This response follows the request before it, so the other call waits by now.
            assert requests.get(f"{url}/s/a/control/overview", timeout=5).json()["name"] == "a"
            process.send(signal.SIGTERM)
            responses.append(int(waiting.recv(64).split()[1]))
        assert process.wait() == 0
    assert responses == [408]
    assert process.err == []


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """Return a folder with a partner's client."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl or bash is not installed")
    (tmp_path / "my-client").write_text(CLIENT)
    (tmp_path / "my-client").chmod(0o755)
    return tmp_path


def test_examples_of_the_guide_work_as_written(client: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", CONTROL, re.DOTALL)
    with running(*budkavle("mock-open-e", "--port", "0"), folder=client) as process:
        url = process.wait_for("The mock Open-E listens on ")
        first, *lines = (
            block.replace("http://127.0.0.1:8081", url).replace("curl -sS", "curl -sS --fail-with-body").splitlines()
        )
        script = "\n".join(["set -e", first, './my-client "$MOCK/external/api/callback"', *lines])
        result = run_program("bash", "-c", script, folder=client)
        assert result.returncode == 0
        assert result.stdout.count("It has arrived") >= 4
        process.send(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize("place", [0, 1])
def test_recipes_for_ci_work_as_written(client: Path, place: int) -> None:
    recipe = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", CI, re.DOTALL)[place])
    lines = [step["run"] for step in recipe["steps"]] if place == 0 else recipe["test"]["script"]
    script = "\n".join(["set -e", "trap 'kill %1; wait' EXIT", *lines])
    # GitHub reads the file of environment variables between the steps.
    script = script.replace("./my-client", "if [ -s github.env ]; then . ./github.env; fi\n./my-client")
    environment = {
        "GITHUB_ENV": "github.env",
        "GITHUB_JOB": "job",
        "CI_JOB_ID": "7",
        "PATH": build_path(),
    }
    exports = "\n".join(f"export {name}='{value}'" for name, value in environment.items())
    result = run_program("bash", "-c", f"{exports}\n{script}", folder=client)
    assert result.returncode == 0
    assert '"message":"It has arrived"' in result.stdout
    assert not (client / "mock.url").exists()


def test_many_calls_wait_without_threads(tmp_path: Path) -> None:
    with running(*budkavle("mock-open-e", "--port", "0")) as process:
        url = process.wait_for("The mock Open-E listens on ")
        responses: list[int] = []

        def wait() -> None:
            responses.append(requests.get(f"{url}/control/expect?timeout=60", timeout=90).status_code)

        threads = [threading.Thread(target=wait) for _ in range(60)]
        for thread in threads:
            thread.start()
        assert post(url).status_code == 200
        for thread in threads:
            thread.join(60)
        assert responses == [200] * 60


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1\r\n", 400),
        (b"HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"HTTP/1.1\r\nHost: a/b\r\n", 400),
        (b"HTTP/1.1\r\nHost: a:80\r\n", 200),
        (b"HTTP/1.0\r\n", 200),
    ],
    ids=["none", "two", "no name", "one", "HTTP/1.0"],
)
def test_request_needs_one_host(mock_url: str, head: bytes, status: int) -> None:
    """RFC 9112, section 3.2."""
    host, port = mock_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /healthz " + head + b"\r\n")
        assert int(connection.recv(64).split()[1]) == status
