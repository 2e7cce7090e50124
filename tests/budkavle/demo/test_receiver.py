"""The receiver of the demo: which signatures it accepts, and what it prints."""

import base64
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from budkavle.demo.receiver import LARGEST_BODY, SECRET, create_receiver, verify
from budkavle.settings import Settings
from conftest import running_server
from delivery.signing import build_signature_headers, read_secret
from tests.factories import NOW
from tests.receiver_tests.checking import run_check

BODY = b'{"a": "<b>"}'
OTHER_SECRET = "whsec_" + base64.b64encode(b"another").decode()


def sign_headers(body: bytes = BODY, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    time = NOW - timedelta(seconds=age)
    signature = Webhook(secret).sign("msg_1", time, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.timestamp())), "webhook-signature": signature}


def test_verify_accepts_signatures_of_the_worker_and_of_the_standard_library() -> None:
    assert verify(SECRET, sign_headers(), BODY, NOW)
    keys = [read_secret(OTHER_SECRET), read_secret(SECRET)]
    assert verify(SECRET, build_signature_headers("msg_1", NOW, BODY, keys), BODY, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        sign_headers(secret=OTHER_SECRET),
        sign_headers(body=b"{}"),
        sign_headers(age=301),
        sign_headers(age=-301),
        sign_headers() | {"webhook-id": "msg_2"},
        sign_headers() | {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        sign_headers() | {"webhook-timestamp": "²"},
        sign_headers() | {"webhook-timestamp": "9" * 5000},
        sign_headers() | {"webhook-signature": ""},
        sign_headers() | {"webhook-signature": "v1,"},
        sign_headers() | {"webhook-signature": "v1,ø v1 v1,%%%"},
        sign_headers() | {"webhook-signature": sign_headers()["webhook-signature"].replace("v1,", "v2,")},
    ],
)
def test_verify_rejects_everything_else(headers: dict[str, str]) -> None:
    assert not verify(SECRET, headers, BODY, NOW)


def run_with_receiver(run: Callable, work: Callable) -> None:
    async def talk() -> None:
        transport = httpx.ASGITransport(create_receiver(lambda: NOW, service="http://service.test"))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as client:
            await work(client)

    run(talk())


def test_page_shows_received_events_newest_first_as_text(run: Callable) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        empty = (await client.get("/")).text
        assert "0 events received" in empty
        assert "http://service.test/docs/subscriptions#" in empty
        assert (await client.post("/webhook", content=BODY, headers=sign_headers())).status_code == 204
        forged = await client.post("/<i>", content=b"<script>", headers={"webhook-id": "<u>"})
        assert forged.status_code == 401
        response = await client.get("/")
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        page = response.text
        assert "2 events" in page
        assert page.index("Rejected: no valid signature") < page.index("Signature verified")
        assert "&#34;a&#34;: &#34;&lt;b&gt;&#34;" in page
        for tag in ("<i>", "<u>", "<script>"):
            assert tag not in page

    run_with_receiver(run, work)


def test_events_are_listed_after_a_number_as_they_are_shown(run: Callable) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        assert (await client.get("/events")).json() == {"total": 0, "events": []}
        for _ in range(2):
            assert (await client.post("/webhook", content=BODY, headers=sign_headers())).status_code == 204
        event = b'{"entitetId": 202, "entitetNavn": "Demo 202", "x": "\\ud800"}'
        await client.post("/webhook", content=event, headers=sign_headers(event))
        listed = (await client.get("/events?after=1")).json()
        assert listed["total"] == 3
        assert [each["number"] for each in listed["events"]] == [3, 2]
        latest, repeated = listed["events"]
        assert latest["name"] == "Demo 202 (type 202)"
        assert '"x": "?"' in latest["text"]
        assert repeated["verdict"] == "Signature verified, received before"
        assert (repeated["id"], repeated["path"], repeated["tone"]) == ("msg_1", "/webhook", "warn")
        for after in ("", "x", "-1", "9" * 5000):
            assert (await client.get("/events", params={"after": after})).status_code == 200
        assert (await client.get("/events?after=3")).json() == {"total": 3, "events": []}

    run_with_receiver(run, work)


def test_receiver_refuses_events_until_it_accepts_them_again(run: Callable) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        async def deliver() -> int:
            event = b'{"entitetId": 202, "beskedId": "event-1"}'
            return (await client.post("/webhook", content=event, headers=sign_headers(event))).status_code

        response = await client.post("/page/refuse")
        assert (response.status_code, response.headers["location"]) == (303, "/#answer")
        assert "Accept events again" in (await client.get("/")).text
        assert [await deliver(), await deliver()] == [503, 503]
        assert (await client.post("/webhook", content=b"forged")).status_code == 401
        await client.post("/page/accept")
        assert await deliver() == 204
        assert "Refuse events" in (await client.get("/")).text
        listed = (await client.get("/events")).json()["events"]
        assert [each["verdict"] for each in listed] == [
            "Signature verified, received before",
            "Rejected: no valid signature",
            "Signature verified, received before, refused",
            "Signature verified, refused",
        ]
        assert [each["event"] for each in listed] == ["event-1", "unknown", "event-1", "event-1"]

    run_with_receiver(run, work)


def test_receiver_bounds_its_list_and_its_bodies(run: Callable) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        assert (await client.post("/", content=b"x" * (LARGEST_BODY + 1))).status_code == 413
        for number in range(101):
            await client.post(f"/{number}.", content=b"")
        page = (await client.get("/")).text
        assert "101 events" in page
        assert ">/100.<" in page
        assert ">/0.<" not in page
        assert len((await client.get("/events")).json()["events"]) == 100

    run_with_receiver(run, work)


def test_receiver_keeps_the_contract_of_deliveries(tmp_path: Path) -> None:
    with running_server(Settings(), create_receiver(lambda: datetime.now(UTC)), is_service=False) as url:
        result = run_check(f"{url}/webhook", tmp_path, secret=SECRET)
    assert result.exit_code == 0


def test_secret_is_accepted_by_libraries() -> None:
    assert hmac.compare_digest(read_secret(SECRET), base64.b64decode(SECRET.removeprefix("whsec_")))


def test_program_gets_no_page_for_a_method_that_a_path_does_not_have(run: Callable) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        page = await client.get("/webhook", headers={"Accept": "text/html,*/*;q=0.8"})
        assert (page.status_code, page.headers["Allow"]) == (405, "POST")
        response = await client.get("/webhook")
        assert (response.status_code, response.headers["Allow"], response.text) == (405, "POST", "Method Not Allowed")

    run_with_receiver(run, work)
