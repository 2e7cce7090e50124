"""Names of headers that operators may add to deliveries, and the deliveries with them."""

from datetime import timedelta

import pytest

from delivery import static_headers
from delivery.calls import HEADERS, ReceiverClient
from delivery.signing import build_signature_headers
from delivery.static_headers import MAX_NAME, find_name_fault
from domain.catalogue import StaticHeader
from domain.deliveries import Reason
from tests.delivery.receiving import NOW, Recorder, build_base_url, build_claimed_delivery, build_receiver, send


@pytest.mark.parametrize(
    "name", ["X-Api-Key", "Authorization", "Ocp-Apim-Subscription-Key", "apikey", "x_y", "a" * MAX_NAME]
)
def test_names_of_gateways_are_allowed(name):
    assert find_name_fault(name) is None


@pytest.mark.parametrize("name", ["", "X Key", "X-Key:", "X\r\nY", "Ø", "(a)", "a" * (MAX_NAME + 1), "X\n"])
def test_names_that_are_no_names_of_headers_are_refused(name):
    assert find_name_fault(name) == "must be the name of a header: at most 64 letters, digits and hyphens"


SET_BY_THE_SERVICE = [*HEADERS, *build_signature_headers("a", NOW, b"", [b"b"]), "x-request-id", "traceparent"]


@pytest.mark.parametrize(
    "name",
    [
        *SET_BY_THE_SERVICE,
        "HOST",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Cookie",
        "Webhook-Other",
        "Expect",
        "TE",
        "Upgrade",
        "Proxy-Authorization",
    ],
)
def test_names_of_the_service_and_of_the_connection_are_refused(name):
    assert find_name_fault(name) == "is reserved: the service sets it, or it belongs to the connection"
    assert name.lower() in static_headers._RESERVED or name.lower().startswith(static_headers._RESERVED_PREFIXES)


def test_headers_are_sent_and_their_values_read_again_within_a_minute(run, peer, secret_file, monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", "key of the gateway")
    recorder = Recorder()
    headers = (StaticHeader("Authorization", f"file:{secret_file}"), StaticHeader("X-Api-Key", "env:GATEWAY_KEY"))
    to = build_claimed_delivery(build_receiver(build_base_url(peer(recorder)), headers=headers))

    async def send_at_times():
        calls = ReceiverClient()
        secret_file.write_text("Bearer YTpi\n")
        await calls.send(to, NOW)
        secret_file.write_text("Bearer YTpj")
        await calls.send(to, NOW + timedelta(seconds=60))
        secret_file.write_text("two\nlines")
        response = await calls.send(to, NOW + timedelta(seconds=120))
        await calls.close()
        return response

    response = run(send_at_times())
    assert [recorder.headers(index)["authorization"] for index in range(2)] == ["Bearer YTpi", "Bearer YTpj"]
    assert recorder.headers()["x-api-key"] == "key of the gateway"
    assert response.reason is Reason.SETUP
    assert response.detail == f"file:{secret_file} must contain 1 to 4096 printable ASCII characters"
    assert len(recorder.requests) == 2


def test_receivers_share_connections_but_no_headers(run, peer, monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", "key of the gateway")
    recorder = Recorder()
    server = peer(recorder)
    headers = (StaticHeader("X-Api-Key", "env:GATEWAY_KEY"),)
    run(send(*(build_claimed_delivery(build_receiver(build_base_url(server), headers=each)) for each in (headers, ()))))
    assert ["x-api-key" in recorder.headers(index) for index in range(2)] == [True, False]
    assert server.connections == 1
