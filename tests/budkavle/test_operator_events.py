"""Events for operators over real connections, from a worker to the address in the settings."""

import base64
import hmac
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from budkavle.ids import create_id
from budkavle.operator_events import CHECK_INTERVAL, OperatorEvents, create_operator_events
from budkavle.settings import Settings, SettingsUnusable
from budkavle.specs import find_spec_dir
from delivery.operator_webhook import OperatorClient
from delivery.signing import build_signature_headers, read_secret
from openapi.application import read_spec
from persistence import delivery_pauses
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.operator_events import GATHERING
from tests.certificates import Authority
from tests.delivery.receiving import Recorder, build_base_url, serve_over_tls
from tests.delivery.working import running_worker, subscribe
from tests.delivery_validation import OPERATOR_PATH
from tests.factories import NOW
from tests.open_e.peers import Peer, encode_response
from tests.persistence.catalogues import SYSTEM
from tests.persistence.queues import publish
from tests.persistence.rows import execute
from tests.processes import running
from tests.shown_commands import read_block, read_block_in

pytestmark = pytest.mark.anyio

KEY = b"0123456789abcdef0123456789abcdef"
FAILING_AFTER = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)


class Operator:
    """A receiver of events, with a worker whose systems it gets events about, and a clock."""

    def __init__(self, database: Database, url: str, failed: dict[str, int], **options: Any) -> None:
        self.now = NOW
        settings: dict[str, Any] = {"ca": None, "allow_private": True} | options
        client = OperatorClient(url, "env:OPERATOR_SECRET", **settings)
        self.events = OperatorEvents(database, client, failed, FAILING_AFTER, lambda: self.now)

    async def run_at(self, now: datetime) -> int:
        self.now = now
        return await self.events.run_once()


@pytest.fixture
def start_peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPERATOR_SECRET", f"whsec_{base64.b64encode(KEY).decode()}")
    peers: list[Peer] = []

    def start(serve: Callable[..., Any]) -> Peer:
        peers.append(Peer(serve))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


def build_url(peer: Peer, scheme: str = "http") -> str:
    return build_base_url(peer, scheme=scheme).removesuffix("/star") + OPERATOR_PATH


def read_events(recorder: Recorder) -> list[dict[str, Any]]:
    """Return the bodies, after the check of their signatures."""
    for index, (_, body) in enumerate(recorder.requests):
        headers = recorder.headers(index)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        signature = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{signature}"
    return [json.loads(body) for _, body in recorder.requests]


async def test_event_is_sent_when_a_system_fails_and_recovers(database: Database, start_peer: Any) -> None:
    answers = [encode_response(b"", "503 Away"), encode_response(b"")]
    recorder = Recorder()
    failing, working = Recorder(answers[0]), Recorder(answers[1])
    await subscribe(database, build_base_url(start_peer(failing)))
    await publish(database)
    async with running_worker(database) as worker:
        operator = Operator(database, build_url(start_peer(recorder)), worker.failed)
        await worker.run_once(NOW)
        await worker.finish()
        assert await operator.run_at(NOW + FAILING_AFTER - MINUTE) == 0
        assert await operator.run_at(NOW + FAILING_AFTER) == 1
        assert await operator.run_at(NOW + 2 * FAILING_AFTER) == 0
    await move_system(database, build_base_url(start_peer(working)))
    later = NOW + 2 * FAILING_AFTER
    async with running_worker(database, now=later) as worker:
        await worker.run_once(later)
        await worker.finish()
        assert worker.failed == {}
    assert await operator.run_at(later + CHECK_INTERVAL) == 1
    since = "2026-03-01T12:00:00.123Z"
    system = {"systemId": SYSTEM, "systemName": SYSTEM, "since": since}
    assert read_events(recorder) == [
        {"type": "system.failing", "timestamp": "2026-03-01T12:15:00.123Z", "data": system},
        {"type": "system.recovered", "timestamp": "2026-03-01T12:30:30.123Z", "data": system},
    ]


async def move_system(database: Database, base: str) -> None:
    """Change the base URL of the system, which works again."""
    await execute(database, f"update systems set base_url = '{base}'")


async def test_event_is_sent_for_parked_and_paused_deliveries(database: Database, start_peer: Any) -> None:
    recorder = Recorder()
    await subscribe(database, build_base_url(start_peer(Recorder(encode_response(b"", "404 Gone")))))
    for _ in range(3):
        await publish(database)
    async with running_worker(database, new_event_id=create_id) as worker:
        operator = Operator(database, build_url(start_peer(recorder)), worker.failed)
        await worker.run_once(NOW)
        await worker.finish()
    await delivery_pauses.pause(database, Command(SYSTEM, None, "operator", NOW, "request", create_id()), None)
    assert await operator.run_at(NOW + GATHERING) == 2
    assert await operator.run_at(NOW + GATHERING + MINUTE) == 0
    parked, paused = sorted(read_events(recorder), key=lambda event: str(event["type"]))
    assert (parked["type"], parked["data"]["parked"]) == ("deliveries.parked", 3)
    assert (paused["type"], "until" in paused["data"]) == ("deliveries.paused", False)


async def test_event_is_sent_again_with_its_id_until_it_arrives(database: Database, start_peer: Any) -> None:
    failing, working = Recorder(encode_response(b"", "500 No")), Recorder()
    await subscribe(database, "http://127.0.0.1:9")
    await delivery_pauses.pause(database, Command(SYSTEM, None, "operator", NOW, "request", create_id()), None)
    operator = Operator(database, build_url(start_peer(failing)), {})
    assert await operator.run_at(NOW) == 1
    assert await operator.run_at(NOW) == 0
    other = Operator(database, build_url(start_peer(working)), {})
    assert await other.run_at(NOW + MINUTE) == 1
    assert await other.run_at(NOW + 60 * MINUTE) == 0
    assert failing.headers()["webhook-id"] == working.headers()["webhook-id"]


async def test_calls_use_tls_with_the_configured_ca(database: Database, start_peer: Any, authority: Authority) -> None:
    recorder = Recorder()
    peer = start_peer(serve_over_tls(recorder, authority.issue("127.0.0.1")))
    url = build_url(peer, "https")
    body = b'{"type":"system.failing","timestamp":"2026-03-01T12:15:00.000Z","data":{"systemId":"%b"}}'
    body %= SYSTEM.encode()
    trusting = OperatorClient(url, "env:OPERATOR_SECRET", ca=f"file:{authority.file}", allow_private=True)
    assert await trusting.send(create_id(), body, NOW) is None
    public = OperatorClient(url, "env:OPERATOR_SECRET", ca=None, allow_private=True)
    reason = await public.send(create_id(), body, NOW)
    assert reason is not None
    assert reason.startswith("tls ")


@pytest.mark.parametrize(
    ("secret", "allow_private", "reason"),
    [
        ("env:OPERATOR_SECRET", False, "address 127.0.0.1"),
        ("env:NOT_SET", True, "env:NOT_SET is not set"),
        ("env:OPERATOR_SECRET", True, "connect "),
    ],
)
async def test_send_explains_what_prevents_a_call(
    start_peer: Any, secret: str, reason: str, *, allow_private: bool
) -> None:
    client = OperatorClient("http://127.0.0.1:9/operator", secret, ca=None, allow_private=allow_private)
    found = await client.send(create_id(), b"{}", datetime.now(UTC))
    assert found is not None
    assert found.startswith(reason)


def test_webhook_without_a_secret_stops_the_start(database_url: str) -> None:
    settings = Settings(operator_webhook_url="https://operator.example/")
    with pytest.raises(SettingsUnusable, match="BUDKAVLE_OPERATOR_WEBHOOK_SECRET"):
        create_operator_events(settings, None, {}, lambda: NOW)  # type: ignore[arg-type]  # It is not used.
    assert create_operator_events(Settings(), None, {}, lambda: NOW) == []  # type: ignore[arg-type]  # It is not used.


def test_receiver_of_the_guide_posts_events_to_a_chat(
    start_peer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Recorder()
    script = tmp_path / "operator.py"
    script.write_text(read_block_in("docs/how-to/operator-events.md", "python"))
    examples = read_spec(find_spec_dir(), "operator-events")["paths"]["/budkavle"]["post"]["requestBody"]
    bodies = [each["value"] for each in examples["content"]["application/json"]["examples"].values()]
    shown = subprocess.run(
        ["bash", "-euc", f"{read_block('docs/how-to/operator-events.md', 'export')}\nenv -0"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    secret = dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)["OPERATOR_SECRET"]
    monkeypatch.setenv("OPERATOR_SECRET", secret)
    monkeypatch.setenv("CHAT_URL", start_peer(chat).url)
    with running(sys.executable, "-P", str(script), PORT="0") as process:
        url = process.wait_for("listening on ")
        statuses = []
        for body in bodies:
            content = json.dumps(body).encode()
            headers = build_signature_headers(create_id(), datetime.now(UTC), content, [read_secret(secret)])
            statuses.append(
                httpx.post(url, content=content, headers=headers, trust_env=False, verify=False).status_code
            )
        assert (
            httpx.post(url, content=content + b" ", headers=headers, trust_env=False, verify=False).status_code == 401
        )
    assert statuses == [204] * len(bodies)
    texts = [json.loads(body)["text"] for _, body in chat.requests]
    assert len(texts) == len(bodies)
    assert "Fasit has accepted" in texts[0]
    assert "17 are parked" in texts[2]
    assert "1/101/202" in texts[3]
