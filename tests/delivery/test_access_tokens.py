"""Access tokens for deliveries: when they are requested, shared, replaced and missing."""

import asyncio
import html
import json
from datetime import timedelta
from urllib.parse import quote_plus, urlsplit

import pytest
import structlog

from delivery.calls import ReceiverClient
from domain.catalogue import StaticHeader
from domain.deliveries import AttemptOutcome, Reason, decide_outcome
from openapi.observation.logs import set_up_logs
from tests.delivery.receiving import (
    NOW,
    Addresses,
    build_base_url,
    build_claimed_delivery,
    build_receiver,
    send,
    send_one,
    serve_over_tls,
)
from tests.delivery.token_servers import (
    SECRET,
    VALUE,
    Gateway,
    TokenServer,
    build_client,
    encode_json,
    encode_token,
)
from tests.open_e.peers import NEVER, encode_response, read_request

HTML = encode_response(
    b"<html><body>Sign in: " + SECRET.encode() + b"</body></html>", headers="Content-Type: text/html\r\n"
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("GATEWAY_KEY", VALUE)


@pytest.fixture
def all_logged():
    set_up_logs("json", "info")
    yield
    set_up_logs("json", "error")


def claim(gateway, endpoint, **changes):
    return build_claimed_delivery(build_receiver(build_base_url(gateway), oauth2=build_client(endpoint), **changes))


async def send_at(calls, claimed, *seconds):
    return [await calls.send(claimed, NOW + timedelta(seconds=each)) for each in seconds]


def describe(responses):
    return [each.status if each.reason is None else each.reason for each in responses]


def test_token_is_requested_once_and_sent_with_each_delivery(run, peer):
    endpoint, gateway = TokenServer(), Gateway()
    claimed = claim(peer(gateway), peer(endpoint))
    assert describe(run(send(*[claimed] * 3))) == [200] * 3
    assert gateway.list_tokens() == ["token-1"] * 3
    assert len(endpoint.requests) == 1


def test_thousand_deliveries_wait_for_one_request(peer):
    endpoint, gateway = TokenServer(), Gateway()
    endpoint.go_on.clear()
    claimed = claim(peer(gateway), peer(endpoint))

    async def send_all():
        calls = ReceiverClient()
        waiting = [asyncio.create_task(calls.send(claimed, NOW)) for _ in range(1000)]
        await asyncio.to_thread(endpoint.arrived.wait, 10)
        # An attempt that is cancelled cancels the request of no other one.
        waiting.pop(0).cancel()
        endpoint.go_on.set()
        responses = await asyncio.gather(*waiting)
        await calls.close()
        return responses

    assert describe(asyncio.run(send_all())) == [200] * 999
    assert set(gateway.list_tokens()) == {"token-1"}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("expires_in", "last_use", "replaced"),
    [(3600, 3539, 3540), (60, 29, 30), (None, 239, 240), (1, 4, 5), (0, 4, 5), (-5, 4, 5), (1e12, 86_339, 86_340)],
)
def test_token_is_replaced_in_the_background_before_it_expires(run, peer, expires_in, last_use, replaced):
    endpoint = TokenServer(lambda number: encode_token(f"token-{number}", expires_in=expires_in))
    gateway = Gateway()
    claimed = claim(peer(gateway), peer(endpoint))

    async def send_then_wait():
        calls = ReceiverClient()
        await send_at(calls, claimed, 0, last_use)
        assert len(endpoint.requests) == 1
        endpoint.arrived.clear()
        endpoint.go_on.clear()
        # The delivery does not wait for the new token.
        assert describe(await send_at(calls, claimed, replaced)) == [200]
        await asyncio.to_thread(endpoint.arrived.wait, 10)
        endpoint.go_on.set()
        while gateway.list_tokens()[-1] != "token-2":
            await send_at(calls, claimed, replaced)
        await calls.close()

    run(send_then_wait())
    assert gateway.list_tokens()[:3] == ["token-1"] * 3
    assert len(endpoint.requests) == 2


def test_old_token_is_used_until_it_expires_while_no_new_one_is_issued(run, peer):
    endpoint = TokenServer(lambda number: encode_token("token-1") if number == 1 else HTML)
    gateway = Gateway()
    claimed = claim(peer(gateway), peer(endpoint))

    async def send_all():
        calls = ReceiverClient()
        responses = await send_at(calls, claimed, 0)
        endpoint.arrived.clear()
        responses += await send_at(calls, claimed, 3545)
        await asyncio.to_thread(endpoint.arrived.wait, 10)
        responses += await send_at(calls, claimed, 3599, 3600)
        await calls.close()
        return describe(responses)

    assert run(send_all()) == [200, 200, 200, Reason.TOKEN]
    assert gateway.list_tokens() == ["token-1"] * 3


def test_clock_that_is_set_back_does_not_extend_the_use_of_a_token(run, peer):
    endpoint, gateway = TokenServer(), Gateway()
    claimed = claim(peer(gateway), peer(endpoint))

    async def set_back():
        calls = ReceiverClient()
        await send_at(calls, claimed, 0, -3600)
        await calls.close()

    run(set_back())
    assert gateway.list_tokens() == ["token-1", "token-2"]


def test_rejected_token_is_replaced_and_the_delivery_sent_again_in_the_same_attempt(run, peer):
    endpoint, gateway = TokenServer(), Gateway(lambda token: token == "token-2")
    [response] = run(send(claim(peer(gateway), peer(endpoint))))
    assert (response.status, response.reason) == (200, None)
    assert gateway.list_tokens() == ["token-1", "token-2"]
    first, second = gateway.requests
    assert first[1] == second[1]
    assert gateway.headers(0)["webhook-id"] == gateway.headers(1)["webhook-id"]


def test_deliveries_whose_token_is_rejected_share_the_new_one(run, peer):
    endpoint, gateway = TokenServer(), Gateway()
    claimed = claim(peer(gateway), peer(endpoint))

    async def revoke():
        calls = ReceiverClient()
        await calls.send(claimed, NOW)
        gateway.is_accepted = lambda token: token != "token-1"
        # Attempts may end in another order than they began.
        times = [NOW + timedelta(milliseconds=100 * abs(number - 25)) for number in range(50)]
        responses = await asyncio.gather(*(calls.send(claimed, now) for now in times))
        await calls.close()
        return describe(responses)

    assert run(revoke()) == [200] * 50
    assert len(endpoint.requests) == 2


def test_gateway_that_rejects_every_token_causes_few_requests_and_parks_nothing(run, peer):
    endpoint, gateway = TokenServer(), Gateway(lambda _: False)
    claimed = claim(peer(gateway), peer(endpoint))

    async def send_all():
        calls = ReceiverClient()
        responses = await send_at(calls, claimed, *range(20))
        await calls.close()
        return responses

    responses = run(send_all())
    assert {(each.status, each.reason, each.body) for each in responses} == {(401, Reason.TOKEN, "no")}
    assert {decide_outcome(each) for each in responses} == {AttemptOutcome.AGAIN}
    # The first token, and a replacement every 10 seconds.
    assert len(endpoint.requests) == 3
    assert len(gateway.requests) == 22


def test_endpoint_that_issues_the_same_token_again_is_not_asked_in_a_loop(run, peer):
    endpoint, gateway = TokenServer(lambda _: encode_token("same")), Gateway(lambda _: False)
    [response] = run(send(claim(peer(gateway), peer(endpoint))))
    assert (response.status, response.reason) == (401, Reason.TOKEN)
    assert (len(endpoint.requests), len(gateway.requests)) == (2, 1)


@pytest.mark.parametrize(
    ("challenge", "reason", "requests"),
    [
        ("Bearer error=invalid_token", Reason.TOKEN, 2),
        ('Basic realm="a"\r\nWWW-Authenticate: OAuth2 realm="b",error = "INVALID_TOKEN"', Reason.TOKEN, 2),
        ('Bearer error="invalid_token", error_description="Tokenet er udløbet\t"', Reason.TOKEN, 2),
        ('Bearer error="insufficient_scope"', Reason.HTTP, 1),
        ('Bearer realm="invalid_token"', Reason.HTTP, 1),
        ('Bearer xerror="invalid_token"', Reason.HTTP, 1),
        ("Bearer", Reason.HTTP, 1),
    ],
)
def test_only_the_challenge_for_an_invalid_token_replaces_it(run, peer, challenge, reason, requests):
    endpoint, gateway = TokenServer(), Gateway(lambda _: False)
    gateway.challenge = challenge
    [response] = run(send(claim(peer(gateway), peer(endpoint))))
    assert (response.status, response.reason) == (401, reason)
    assert len(endpoint.requests) == requests


def test_challenge_to_a_delivery_without_a_token_of_ours_parks_it(run, peer):
    response = run(send_one(build_base_url(peer(Gateway(lambda _: False)))))
    assert (response.status, response.reason) == (401, Reason.HTTP)
    assert decide_outcome(response) is AttemptOutcome.PARK


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (
            encode_json({"error": "invalid_client", "error_description": SECRET}, "400 Bad"),
            "answered 400 invalid_client",
        ),
        (encode_json({"error": SECRET}, "401 Unauthorized"), "answered 401"),
        (encode_response(HTML, "500 Error"), "answered 500"),
        (HTML, "answered with something other than a JSON object"),
        (encode_json({"access_token": "a"}) + b"x", "answered with another token_type than Bearer"),
        (encode_json({"access_token": "a", "token_type": "mac"}), "answered with another token_type than Bearer"),
        (encode_response(b" " * 65_537), "answered with more than 65536 bytes"),
        (
            encode_response(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
            "answered 302; redirects are not followed",
        ),
        (b"garbage\r\n\r\n", "cannot be called (garbage: the response is not HTTP)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", None),
    ],
)
@pytest.mark.usefixtures("all_logged")
def test_failed_request_names_the_endpoint_and_the_cause_without_secrets(run, peer, response, detail):
    def respond_and_close(connection, _):
        read_request(connection)
        connection.sendall(response)

    gateway, endpoint = peer(Gateway()), peer(respond_and_close)
    with structlog.testing.capture_logs() as entries:
        [answer] = run(send(claim(gateway, endpoint)))
    assert (answer.status, answer.reason, decide_outcome(answer)) == (None, Reason.TOKEN, AttemptOutcome.AGAIN)
    place = f"the token endpoint {build_client(endpoint).token_url} "
    detail = "cannot be called (lost: the response was truncated)" if detail is None else detail
    assert answer.detail == place + detail
    assert gateway.connections == 0
    [entry] = entries
    assert (entry["event"], entry["log_level"], entry["reason"]) == (
        "access_token_request_failed",
        "warning",
        answer.detail,
    )


def test_endpoint_that_is_down_or_silent_fails_the_attempt_in_time(run, peer):
    silent = peer(lambda *_: NEVER.wait(20))
    closed = peer(lambda *_: None)
    closed.close()
    gateway = peer(Gateway())
    [timeout] = run(send(claim(gateway, silent), attempt_timeout=0.3))
    [connect] = run(send(claim(gateway, closed)))
    assert timeout.detail.endswith(
        ("has not answered in time", "cannot be called (timeout: while waiting for the response)")
    )
    assert connect.detail.endswith(
        f"cannot be called (connect: Connect call failed ('127.0.0.1', {urlsplit(closed.url).port}))"
    )
    assert gateway.connections == 0


def test_attempt_includes_the_request_for_its_token(run, peer):
    """A lease is longer than an attempt, so an attempt must not be longer than its timeout."""
    endpoint = TokenServer()
    silent = peer(lambda *_: NEVER.wait(20))

    async def measure():
        loop = asyncio.get_running_loop()
        endpoint.go_on.clear()
        loop.call_later(0.3, endpoint.go_on.set)
        calls = ReceiverClient(attempt_timeout=0.5)
        begun = loop.time()
        response = await calls.send(claim(silent, peer(endpoint)), NOW)
        seconds = loop.time() - begun
        await calls.close()
        return response.reason, seconds

    reason, seconds = run(measure())
    assert reason is Reason.TIMEOUT
    assert seconds < 0.75


def test_failing_endpoint_gets_one_request_in_5_seconds(run, peer):
    endpoint = TokenServer(lambda _: encode_json({"error": "invalid_client"}, "401 Unauthorized"))
    claimed = claim(peer(Gateway()), peer(endpoint))

    async def send_all():
        calls = ReceiverClient()
        responses = await asyncio.gather(*(calls.send(claimed, NOW) for _ in range(100)))
        responses += await send_at(calls, claimed, 1, 4)
        assert len(endpoint.requests) == 1
        endpoint.respond = lambda number: encode_token(f"token-{number}")
        responses += await send_at(calls, claimed, 10)
        await calls.close()
        return describe(responses)

    assert run(send_all()) == [*[Reason.TOKEN] * 102, 200]
    assert len(endpoint.requests) == 2


def test_private_endpoint_is_not_called(run, peer):
    endpoint, gateway = peer(TokenServer()), Gateway()
    names = {"token.example": "10.1.2.3", "receiver.example": "127.0.0.1"}

    class Names(Addresses):
        async def resolve(self, host, port=0, family=0):
            return [self.entry(host, port, names[host])]

    base = build_base_url(peer(gateway), "receiver.example")
    for url, private, address in (
        ("http://169.254.169.254/latest/meta-data", True, "169.254.169.254"),
        (build_client(endpoint).token_url, False, "127.0.0.1"),
        ("http://token.example/token", False, "10.1.2.3"),
    ):
        to = build_receiver(base, oauth2=build_client(url), allow_private_addresses=private)
        response = run(send_one(to, resolver=Names()))
        assert (response.reason, decide_outcome(response)) == (Reason.TOKEN, AttemptOutcome.AGAIN)
        assert response.detail == f"the token endpoint {url} cannot be called (address: {address})"
    assert endpoint.connections == 0
    assert gateway.requests == []


def test_endpoint_is_called_with_the_ca_and_certificate_of_the_system(run, peer, authority, other_authority):
    endpoint = TokenServer()
    server = peer(serve_over_tls(endpoint, authority.issue("127.0.0.1"), clients=authority))
    ours = f"file:{authority.issue().file}"
    url = build_client(server).token_url.replace("http:", "https:")
    # The receiver itself needs no TLS.
    base = build_base_url(peer(Gateway()))
    trusted = {"ca": f"file:{authority.file}", "certificate": ours, "key": ours}
    assert run(send_one(build_receiver(base, oauth2=build_client(url), **trusted))).status == 200
    for changes in ({"ca": f"file:{other_authority.file}"}, {"certificate": None, "key": None}):
        response = run(send_one(build_receiver(base, oauth2=build_client(url), **(trusted | changes))))
        assert response.reason is Reason.TOKEN
        assert "cannot be called (tls" in response.detail or "cannot be called (lost" in response.detail
    assert len(endpoint.requests) == 1


def test_replaced_client_secret_is_used_within_a_minute(run, peer, secret_file):
    endpoint, gateway = TokenServer(), Gateway()
    client = build_client(peer(endpoint), client_secret=f"file:{secret_file}")
    claimed = build_claimed_delivery(build_receiver(build_base_url(peer(gateway)), oauth2=client))

    async def replace():
        calls = ReceiverClient()
        secret_file.write_text("old")
        await send_at(calls, claimed, 0)
        secret_file.write_text("old\n")
        await send_at(calls, claimed, 60)
        secret_file.write_text("new")
        await send_at(calls, claimed, 119, 120)
        secret_file.unlink()
        responses = await send_at(calls, claimed, 180)
        await calls.close()
        return responses

    [response] = run(replace())
    assert (response.reason, response.detail) == (
        Reason.SETUP,
        f"file:{secret_file} cannot be read: No such file or directory",
    )
    assert gateway.list_tokens() == ["token-1"] * 3 + ["token-2"]


def test_systems_have_tokens_of_their_own(run, peer):
    endpoint, gateway = TokenServer(), Gateway()
    gateway_peer, endpoint_peer = peer(gateway), peer(endpoint)
    claims = [claim(gateway_peer, endpoint_peer, system_id=name) for name in ("1", "2", "1")]
    run(send(*claims))
    assert gateway.list_tokens() == ["token-1", "token-2", "token-1"]


@pytest.mark.usefixtures("all_logged")
def test_responses_and_logs_contain_neither_tokens_nor_values_nor_secrets(run, peer):
    """A receiver may repeat the request in its answer, which operators and the system can read."""

    def echo(connection, _):
        head, _ = read_request(connection)
        connection.sendall(encode_response(head.encode(), "404 Not Found"))

    headers = (StaticHeader("X-Api-Key", "env:GATEWAY_KEY"),)
    endpoint = TokenServer(lambda _: encode_token("a-token-of-the-gateway"))
    with structlog.testing.capture_logs() as entries:
        [response] = run(send(claim(peer(echo), peer(endpoint), headers=headers)))
    assert "Authorization: Bearer ***" in response.body
    assert "X-Api-Key: ***" in response.body
    for secret in ("a-token-of-the-gateway", VALUE, SECRET):
        assert secret not in f"{response}{entries}"


def test_responses_contain_no_form_of_a_value(run, peer, monkeypatch):
    """A value may be the beginning of another one, be repeated without its scheme, or within JSON, HTML or a URL."""
    short, long = "first-secret", "first-secret\\and/more&more"
    monkeypatch.setenv("SHORT", f"Bearer {short}")
    monkeypatch.setenv("LONG", f"ApiKey {long}")
    repeated = json.dumps([short, long])
    texts = [repeated, repeated.replace("/", "\\/"), f"{short} {long}", html.escape(long), quote_plus(long)]

    def echo(connection, _):
        read_request(connection)
        connection.sendall(encode_response("\n".join(texts).encode(), "404 Not Found"))

    headers = (StaticHeader("Authorization", "env:SHORT"), StaticHeader("X-Api-Key", "env:LONG"))
    receiver = build_receiver(build_base_url(peer(echo)), headers=headers)
    [response] = run(send(build_claimed_delivery(receiver)))
    assert response.body.splitlines() == ['["***", "***"]', '["***", "***"]', "*** ***", "***", "***"]


def test_close_ends_a_request_that_is_under_way(run, peer):
    endpoint = TokenServer()
    claimed = claim(peer(Gateway()), peer(endpoint))

    async def close_early():
        calls = ReceiverClient()
        await calls.send(claimed, NOW)
        endpoint.arrived.clear()
        endpoint.go_on.clear()
        await send_at(calls, claimed, 3550)
        await asyncio.to_thread(endpoint.arrived.wait, 10)
        await calls.close()
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert run(close_early()) == []
    endpoint.go_on.set()
