"""`budkavle dev`: the printed commands work when pasted, and the program shuts down cleanly."""

import json
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from budkavle.demo.subscriptions import CLIENT_CERT
from handlers.contracts import DEFAULT
from openapi.application import read_spec
from tests.processes import REPOSITORY, Process, budkavle, running

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="the demo prints commands for curl, which is missing"
)

SPECS = {path.stem: read_spec(path.parent, path.stem) for path in sorted((REPOSITORY / "spec").glob("*.yaml"))}
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+Z \[info +\] (request|delivery_attempted|key_set_read) ")


class Demo:
    """The addresses and commands that the demo printed."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.wait_for("Ctrl-C")
        self.commands = [line.strip() for line in process.out if line.startswith("curl ")]
        self.addresses = re.findall(r"^\S.*:\s+(http\S+)$", "".join(process.out), re.MULTILINE)
        self.service = self.addresses[0].removesuffix("/docs")
        self.receiver = self.addresses[1]
        # Each operation reads one of them.
        headers = {"apikey": "demo", "Client-Cert": CLIENT_CERT}
        self.client = httpx.Client(base_url=self.service, headers=headers, trust_env=False, verify=False)

    def paste(self, command: str) -> str:
        result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert result.stderr == ""
        return result.stdout

    def interrupt(self) -> None:
        """Send SIGINT."""
        self.client.close()
        self.process.send(signal.SIGINT)
        assert self.process.wait() == 0
        for line in self.process.err:
            assert LOG_LINE.match(line), line


@contextmanager
def demo(folder: Path, **settings: object) -> Iterator[Demo]:
    with running(
        *budkavle("dev", "--port", "0", "--mock-port", "0", "--receiver-port", "0", "--operations-port", "0"),
        folder=folder,
        **settings,
    ) as process:
        shown = Demo(process)
        with shown.client:
            yield shown


def list_operations() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for name, spec in SPECS.items():
        for path, methods in spec["paths"].items():
            for method, operation in methods.items():
                yield name, path, method, operation


def resolve_reference(spec: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a contract with its reference resolved."""
    while "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = spec["components"][kind][name]
    return node


def list_example_requests(
    spec: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the requests that the examples of an operation describe."""
    url, query = path, {}
    for parameter in (resolve_reference(spec, node) for node in operation.get("parameters", [])):
        assert "example" in parameter, f"{operation['operationId']}: {parameter['name']} has no example"
        if parameter["in"] == "path":
            url = url.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        elif parameter["in"] == "query":
            value = parameter["example"]
            query[parameter["name"]] = json.dumps(value) if isinstance(value, bool) else str(value)
    request = {"method": method.upper(), "url": url, "params": query}
    contents = operation.get("requestBody", {}).get("content", {})
    if not contents:
        yield request
    for media_type, content in contents.items():
        values = (
            [content["example"]] if "example" in content else [one["value"] for one in content["examples"].values()]
        )
        for value in map(dict, values):
            if media_type == "application/json":
                yield {**request, "json": value}
            else:
                [part] = content["encoding"]
                files = [(part, (None, json.dumps(value.pop(part)), "application/json"))]
                files += [("attachments", ("a.txt", data)) for data in value.pop("attachments", [])]
                assert not value
                yield {**request, "files": files}


def assert_examples_work(shown: Demo, methods: set[str]) -> None:
    for name, path, method, operation in list_operations():
        if name not in DEFAULT:
            # Another program serves the contract of the mock, and compatibility APIs are off.
            continue
        for request in list_example_requests(SPECS[name], path, method, operation) if method in methods else ():
            response = shown.client.request(**request)
            success = [status for status in operation["responses"] if status.startswith("2")]
            assert str(response.status_code) in success, f"{operation['operationId']}: {response.text}"


def test_dev_prints_working_commands_and_a_second_start_finds_the_old_data(tmp_path: Path) -> None:
    with demo(tmp_path) as first:
        post, fetch, *_ = first.commands
        assert all("apikey: demo" in shlex.split(command) for command in (post, fetch))
        assert first.process.out[0].startswith("Post a message to case 1068")
        response = first.paste(post)
        assert response.startswith("HTTP/1.1 201 Created")
        match = re.search(r"^location: /webmessages/(\S+)", response, re.MULTILINE | re.IGNORECASE)
        assert match is not None
        listed = json.loads(first.paste(fetch))
        assert match[1] in {message["id"] for message in listed}
        for address in first.addresses:
            assert httpx.get(address, trust_env=False, verify=False).status_code == 200, address
        # The inbox page renders the data that is posted here.
        inbox = httpx.get(f"{first.addresses[-1]}control/messages", trust_env=False, verify=False).json()
        assert "This is a message" in {message["message"] for message in inbox}
        assert_examples_work(first, {"post", "get", "delete"})
        listed = json.loads(first.paste(fetch))
        first.interrupt()
    assert (tmp_path / "budkavle.db").exists()
    with demo(tmp_path) as second:
        found = {message["id"] for message in json.loads(second.paste(second.commands[1]))}
        assert {message["id"] for message in listed} <= found
        # Restore what an example deleted.
        assert_examples_work(second, {"get", "delete"})
        second.interrupt()


def test_dev_serves_the_operations_page_with_its_key(tmp_path: Path) -> None:
    with demo(tmp_path) as shown:
        [page] = re.findall(r"^Operations page:\s+(\S+) \(key: demo\)$", "".join(shown.process.out), re.MULTILINE)
        own = {"sec-fetch-site": "same-origin"}
        with httpx.Client(trust_env=False, verify=False, follow_redirects=True) as client:
            overview = client.post(f"{page}/sign-in", data={"key": "demo"}, headers=own)
        assert "demo" in overview.text
        assert "Queue by system" in overview.text
        assert "read-only" not in overview.text


def test_dev_listens_only_on_this_machine_and_stores_no_key(tmp_path: Path) -> None:
    with demo(tmp_path, host="0.0.0.0", log_format="json") as shown:
        assert shown.service.startswith("http://127.0.0.1:")
        assert shown.client.get("/webmessages/x", headers={"apikey": "wrong"}).status_code == 401
        with closing(sqlite3.connect(tmp_path / "budkavle.db")) as database:
            assert database.execute("select * from api_keys").fetchall() == []
        shown.client.close()
        shown.process.send(signal.SIGINT)
        assert shown.process.wait() == 0
        entries = [json.loads(line) for line in shown.process.err]
        assert [(entry["event"], entry.get("status")) for entry in entries] == [
            ("key_set_read", None),
            ("request", 401),
        ]


def test_dev_prints_commands_that_set_and_fetch_subscriptions(tmp_path: Path) -> None:
    with demo(tmp_path) as first:
        _, _, sync, fetch, *_ = first.commands
        # Restore the initial state: one subscription, for the examples.
        (one,) = json.loads(first.paste(fetch))["abonnementer"]
        assert (one["orgType"], one["orgCode"], one["entityType"]) == (1, 101, 202)
        response = first.paste(sync)
        assert response.startswith("HTTP/1.1 200 OK")
        counts = json.loads(response.split("\r\n\r\n")[-1].splitlines()[-1])
        assert counts == {"oprettet": 1, "opdateret": 0, "slettet": 0, "uaendret": 1, "slettedeBeskeder": 0}
        assert len(json.loads(first.paste(fetch))["abonnementer"]) == 2
        first.interrupt()
    with demo(tmp_path) as second:
        assert len(json.loads(second.paste(second.commands[3]))["abonnementer"]) == 2
        second.interrupt()


def test_dev_prints_a_command_that_publishes_an_event_with_a_signed_delivery(tmp_path: Path) -> None:
    with demo(tmp_path) as shown:
        *_, publish, waiting = shown.commands
        assert "0 events received" in httpx.get(shown.receiver, trust_env=False, verify=False).text
        response = shown.paste(publish)
        assert response.startswith("HTTP/1.1 202 Accepted")
        accepted = json.loads(response.splitlines()[-1])
        assert accepted["abonnementer"] == 1
        while accepted["beskedId"] not in (page := httpx.get(shown.receiver, trust_env=False, verify=False).text):
            pass
        assert "Signature verified" in page
        assert "&#34;hello&#34;: &#34;world&#34;" in page
        while json.loads(shown.paste(waiting))["beskeder"]:
            pass
        shown.interrupt()


def test_dev_prints_a_command_with_an_access_token_of_its_issuer(tmp_path: Path) -> None:
    with demo(tmp_path) as shown:
        [command] = [line.strip() for line in shown.process.out if line.startswith("TOKEN=")]
        assert "apikey" not in command
        listed = json.loads(shown.paste(command))
        assert {"81471222-5798-11e9-ae24-57fa13b361e1"} <= {message["id"] for message in listed}
        shown.interrupt()
    assert any("caller=https://issuer.example#demo" in line for line in shown.process.err)
    # The key of the issuer is generated at each start, and never stored.
    assert all("budkavle.db" in path.name for path in tmp_path.iterdir())
