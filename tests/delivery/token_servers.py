"""Token endpoints, and gateways that reject access tokens, on real sockets."""

import json
import threading
from collections.abc import Callable
from urllib.parse import parse_qs

from domain.catalogue import TokenClient
from tests.delivery.receiving import OK, Recorder
from tests.open_e.peers import Peer, encode_response, read_request

SECRET = "client secret: +%"
VALUE = "the-value-of-the-key"


def encode_json(value: object, status: str = "200 OK") -> bytes:
    return encode_response(json.dumps(value).encode(), status, "Content-Type: application/json\r\n")


def encode_token(token: str, **changes: object) -> bytes:
    """Return the response with a token. None removes a property."""
    values = {"access_token": token, "token_type": "Bearer", "expires_in": 3600} | changes
    return encode_json({name: value for name, value in values.items() if value is not None})


class TokenServer:
    """A token endpoint that records requests. Without other responses, each request gets `token-NUMBER`.

    It answers nothing until `go_on` is set.
    """

    def __init__(self, respond: Callable[[int], bytes] = lambda number: encode_token(f"token-{number}")) -> None:
        self.requests: list[tuple[str, dict[str, list[str]]]] = []
        self.respond = respond
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, connection, _) -> None:
        while True:
            head, body = read_request(connection)
            self.requests.append((head, parse_qs(body.decode(), strict_parsing=True)))
            number = len(self.requests)
            self.arrived.set()
            assert self.go_on.wait(20)
            connection.sendall(self.respond(number))


class Gateway(Recorder):
    """A gateway that accepts tokens while `is_accepted` returns true, and otherwise says that they are invalid."""

    challenge = 'Bearer realm="gateway", error="invalid_token", error_description="expired"'

    def __init__(self, is_accepted: Callable[[str], bool] = lambda _: True) -> None:
        super().__init__()
        self.is_accepted = is_accepted

    def __call__(self, connection, _) -> None:
        while True:
            self.requests.append(read_request(connection))
            given = self.headers().get("authorization", "")
            rejection = encode_response(b"no", "401 Unauthorized", f"WWW-Authenticate: {self.challenge}\r\n")
            connection.sendall(OK if self.is_accepted(given.removeprefix("Bearer ")) else rejection)

    def list_tokens(self) -> list[str]:
        return [self.headers(index)["authorization"].removeprefix("Bearer ") for index in range(len(self.requests))]


def build_client(endpoint: Peer | str, **changes: object) -> TokenClient:
    """Return a client of an endpoint; its secret is in the variable CLIENT_SECRET."""
    url = endpoint if isinstance(endpoint, str) else endpoint.url.replace("/api/callback", "/oauth2/token")
    return TokenClient(**({"token_url": url, "client_id": "budkavle", "client_secret": "env:CLIENT_SECRET"} | changes))
