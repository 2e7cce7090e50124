"""Servers that are generated from the contract of deliveries receive every kind of delivery that a worker sends."""

import base64
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from delivery.payload import write_payload
from delivery.signing import build_signature_headers, read_secret
from domain.deliveries import ClaimedDelivery, Receiver
from domain.events import Event
from openapi.application import read_spec
from tests.clients.test_generated_typescript import COMPILER, run
from tests.delivery.receiving import build_claimed_delivery, build_receiver, send
from tests.installations import install_node_packages, install_python_packages, make_once, read_texts
from tests.processes import REPOSITORY, running
from tests.receiver_tests.checking import run_check
from tests.shown_commands import read_block

SPEC = REPOSITORY / "spec" / "deliveries.yaml"
OPERATION = read_spec(SPEC.parent, SPEC.stem)["paths"]["/webhook"]["post"]
EXAMPLES: dict[str, dict[str, Any]] = {
    name: example["value"]
    for name, example in OPERATION["requestBody"]["content"]["application/json"]["examples"].items()
}
GUIDE = "docs/how-to/generate-a-client.md"
SERVERS = REPOSITORY / "tests" / "clients"
OLD, NEW = (f"whsec_{base64.b64encode(bytes([number] * 32)).decode()}" for number in (1, 2))


def claim(name: str, to: Receiver) -> ClaimedDelivery:
    """Return the delivery whose payload is an example of the contract."""
    example = EXAMPLES[name]
    event = Event(
        id=example["beskedId"],
        entity_type=example["entitetId"],
        org_type=example["orgType"],
        org_code=example["orgCode"],
        change=example["aendringstype"],
        created=datetime.fromisoformat(example["tidspunkt"]),
        external_id=example.get("eksternIdentifier"),
        version=example.get("versionIdentifier"),
        identification_type=example.get("identifikationstypeId"),
        identification=example.get("identifikation"),
        body=example.get("body"),
    )
    number = list(EXAMPLES).index(name)
    return build_claimed_delivery(
        to,
        event,
        id=f"7d6a9c1e-0000-4000-8000-{number:012}",
        webhook_url="/webhook",
        entity_name=example.get("entitetNavn"),
        request_id="request-1",
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_the_worker_sends(name: str) -> None:
    assert json.loads(write_payload(claim(name, build_receiver("https://a")))) == EXAMPLES[name]


@pytest.fixture(scope="module")
def python_server(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Return the program with the generated application, its handler filled in, and its folder."""
    source = SERVERS / "python_server"
    binaries = install_python_packages(source / "requirements.txt") / "bin"
    generator, *words = shlex.split(read_block(GUIDE, "fastapi-codegen"))

    def build(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        result = run(folder, str(binaries / generator), *(str(SPEC) if "spec/" in word else word for word in words))
        assert result.returncode == 0, result.stdout + result.stderr
        main = folder / "api" / "main.py"
        code = main.read_text()
        assert code.count("    pass\n") == 1
        main.write_text(code.replace("    pass\n", "    from receiver import store\n    store(webhook_id, body)\n"))

    built = build_server_once(build, [str(binaries), generator, words], source)
    return str(binaries / "python"), "receiver.py", copy_server(built, tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def node_server(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Return the compiled program with the generated types, and its folder."""
    source = SERVERS / "node_server"
    packages = install_node_packages(source)
    # The guide lets npx install the generator; here it is installed with the compiler.
    words = shlex.split(read_block(GUIDE, "npx --yes -p"))
    words = words[words.index("openapi-ts") + 1 :]

    def build(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(packages)
        shutil.copy(SPEC, folder)
        command = (SPEC.name if "spec/" in word else word for word in words)
        result = run(folder, "node_modules/.bin/openapi-ts", *command)
        assert result.returncode == 0, result.stdout + result.stderr
        result = run(folder, "node", COMPILER)
        assert result.returncode == 0, result.stdout

    built = build_server_once(build, [str(packages), words], source)
    return "node", "built/src/receiver.js", copy_server(built, tmp_path_factory.mktemp("node"))


def build_server_once(build: Callable[[Path], None], arguments: list[Any], source: Path) -> Path:
    """Return the folder that `build` fills, which these arguments, the contract and the source determine."""
    code = Path(__file__).read_text()
    return make_once("server", json.dumps([arguments, SPEC.read_text(), read_texts(source), code]).encode(), build)


def copy_server(built: Path, folder: Path) -> Path:
    """Copy a server, because it writes into its folder, and return the copy. Links to packages remain links."""
    return shutil.copytree(built, folder, symlinks=True, dirs_exist_ok=True)


@pytest.fixture(params=["python", "node"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Yield the base URL of a generated server, and the folder of what it has received."""
    program, file, folder = request.getfixturevalue(f"{request.param}_server")
    shutil.rmtree(folder / "inbox", ignore_errors=True)
    monkeypatch.setenv("WEBHOOK_SECRET", NEW)
    monkeypatch.setenv("OLD", OLD)
    monkeypatch.setenv("NEW", NEW)
    with running(program, file, folder=folder) as process:
        yield process.wait_for("listening on "), folder / "inbox"


@pytest.mark.anyio
async def test_server_receives_every_kind_of_delivery(server: tuple[str, Path]) -> None:
    url, inbox = server
    # The worker sends two signatures while a secret is replaced; the server knows the second one.
    to = build_receiver(url, webhook_secrets=("env:OLD", "env:NEW"))
    deliveries = [claim(name, to) for name in EXAMPLES]
    now = datetime.now(UTC)
    responses = [*await send(*deliveries, now=now), *await send(*deliveries, now=now + timedelta(seconds=1))]
    assert [response.status for response in responses] == [204] * 2 * len(EXAMPLES)
    received = {path.stem: json.loads(path.read_text()) for path in inbox.iterdir()}
    assert received == {each.id: example for each, example in zip(deliveries, EXAMPLES.values(), strict=True)}


@pytest.mark.anyio
async def test_server_receives_the_largest_body_and_unusual_text(server: tuple[str, Path]) -> None:
    url, inbox = server
    body = {"a\n": '"\\/\u2028\U0001f600', "list": [1, -0.5, 1e300, None, True, {}], "x": "å" * 32_700}
    delivery = claim("event", build_receiver(url, webhook_secrets=("env:NEW",)))
    content = json.dumps(json.loads(delivery.content) | {"body": body}, ensure_ascii=False)
    [response] = await send(replace(delivery, content=content), now=datetime.now(UTC))
    assert response.status == 204
    (path,) = inbox.iterdir()
    assert json.loads(path.read_text())["body"] == body


def test_server_verifies_signatures_as_the_receiver_check_requires(server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    assert run_check(f"{url}/webhook", tmp_path, "--suite", "signatures", secret=NEW).exit_code == 0


def test_server_ignores_unknown_properties_and_rejects_wrong_deliveries(server: tuple[str, Path]) -> None:
    url, inbox = server

    def post(content: dict[str, Any], secret: str = NEW, seconds: int = 0, **headers: str) -> int:
        body = json.dumps(content).encode()
        now = datetime.now(UTC) + timedelta(seconds=seconds)
        signed = build_signature_headers("7d6a9c1e-0000-4000-8000-000000000009", now, body, [read_secret(secret)])
        headers = {"content-type": "application/json", **signed, **headers}
        return httpx.post(f"{url}/webhook", content=body, headers=headers, trust_env=False).status_code

    example = EXAMPLES["event"]
    assert post(example, OLD) == 401
    assert post(example, seconds=-601) == post(example, seconds=601) == 401
    assert 400 <= post(example | {"aendringstype": 4}) < 500
    assert 400 <= post({name: example[name] for name in example if name != "beskedId"}) < 500
    assert list(inbox.iterdir()) == []
    assert post(example | {"nyEgenskab": {"a": 1}}, **{"webhook-new": "1"}) == 204
    (path,) = inbox.iterdir()
    assert json.loads(path.read_text()) == example | {"nyEgenskab": {"a": 1}}
