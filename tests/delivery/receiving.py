"""Build deliveries, run receivers, and make calls to them."""

import socket
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver

from delivery.calls import ReceiverClient
from domain.deliveries import ClaimedDelivery, Receiver
from domain.events import Event, write_content
from tests.certificates import Authority, Issued
from tests.open_e.peers import Peer, encode_response, read_request

NOW = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
OK = encode_response(b"tak")


def build_base_url(peer: Peer, host: str = "127.0.0.1", scheme: str = "http") -> str:
    """Return the base URL of a peer."""
    return f"{scheme}://{host}:{urlsplit(peer.url).port}/star"


def build_receiver(base_url: str, **changes) -> Receiver:
    return Receiver(**({"system_id": "system-1", "base_url": base_url, "allow_private_addresses": True} | changes))


def build_event(**changes) -> Event:
    values = {
        "id": "0b0e1a2c-0000-4000-8000-000000000001",
        "entity_type": 100008,
        "org_type": 8,
        "org_code": 101,
        "change": 2,
        "created": NOW,
    }
    return Event(**(values | changes))


def build_claimed_delivery(to: Receiver | str, the_event: Event | None = None, **changes) -> ClaimedDelivery:
    the_event = the_event or build_event()
    values = {
        "number": 1,
        "id": "7d6a9c1e-0000-4000-8000-000000000002",
        "receiver": build_receiver(to) if isinstance(to, str) else to,
        "webhook_url": "/kontakt",
        "event_id": the_event.id,
        "entity_name": "Kontaktgruppe",
        "created": the_event.created,
        "content": write_content(the_event),
        "attempts": 0,
    }
    return ClaimedDelivery(**(values | changes))


async def send(*deliveries: ClaimedDelivery, now: datetime = NOW, **options):
    """Send deliveries one after the other, and return the responses."""
    calls = ReceiverClient(**options)
    try:
        return [await calls.send(each, now) for each in deliveries]
    finally:
        await calls.close()


async def send_one(to: Receiver | str, **options):
    [response] = await send(build_claimed_delivery(to), **options)
    return response


class Recorder:
    """A receiver that records requests and has one response for all of them."""

    def __init__(self, response: bytes = OK) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self._response = response

    def __call__(self, connection, _) -> None:
        while True:
            self.requests.append(read_request(connection))
            connection.sendall(self._response)

    def headers(self, index: int = -1) -> dict[str, str]:
        lines = self.requests[index][0].split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class Addresses(AbstractResolver):
    """A resolver in which all names have these addresses. `lookups` counts look-ups."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.lookups = 0

    async def resolve(self, host, port=0, family=0):
        self.lookups += 1
        return [self.entry(host, port, address) for address in self.addresses]

    def entry(self, host, port, address):
        return {"hostname": host, "host": address, "port": port, "family": get_family(address), "proto": 0, "flags": 0}

    async def close(self):
        pass


def get_family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve_over_tls(serve, certificate: Issued, clients: Authority | None = None, version: ssl.TLSVersion | None = None):
    """Run the receiver with TLS; with `clients` it requires a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)

    def serve_encrypted(connection, number):
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as encrypted:
            try:
                encrypted.do_handshake()
            except ssl.SSLError:
                # Read the bytes that the client has sent meanwhile. Otherwise the system resets the connection, and the
                # alert is lost.
                while socket.socket.recv(encrypted, 65536):
                    pass
                return
            serve(encrypted, number)

    return serve_encrypted
