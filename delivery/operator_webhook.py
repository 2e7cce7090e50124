"""Send events to the operator: signed as deliveries are, with the same rules for addresses and TLS."""

import ssl
from datetime import datetime

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from delivery.addresses import make_socket_factory
from delivery.failures import map_error
from delivery.names import CheckingResolver, ThreadResolver
from delivery.receivers import trust_ca
from delivery.references import ReceiverMisconfigured, read_signing_key
from delivery.response_heads import LenientConnector
from delivery.signing import build_signature_headers

CALL_SECONDS = 15
"""Maximum seconds of a call."""

HEADERS = {"Content-Type": "application/json", "User-Agent": "Budkavle"}


class OperatorClient:
    """Calls one address. `secret` is a reference as in the catalogue, `ca` one to a file, or None for public CAs."""

    def __init__(self, url: str, secret: str, *, ca: str | None, allow_private: bool) -> None:
        self._url = url
        self._secret = secret
        self._ca = ca
        self._allow_private = allow_private

    async def send(self, event_id: str, body: bytes, now: datetime) -> str | None:
        """Make one call. Return None if the answer was a 2xx, or the reason why not. Raises only `CancelledError`.

        Calls are rare, so each has a connection of its own, and reads the secret and the CA again.
        """
        try:
            key = read_signing_key(self._secret)
            context: ssl.SSLContext | bool = trust_ca(self._ca) if self._url.startswith("https:") else True
            async with self._create_session(context) as http:
                headers = HEADERS | build_signature_headers(event_id, now, body, [key])
                response = await http.post(self._url, data=body, headers=headers, allow_redirects=False)
                response.close()
        except ReceiverMisconfigured as exc:
            return str(exc)
        except (ClientError, OSError, ValueError, RuntimeError) as exc:
            # The same errors as those of a delivery.
            failure = map_error(exc, is_tls=self._url.startswith("https:"))
            return f"{failure.reason} {failure.detail}".rstrip()
        return None if 200 <= response.status < 300 else f"status {response.status}"  # noqa: PLR2004  # The class of success, as HTTP numbers it.

    def _create_session(self, context: ssl.SSLContext | bool) -> ClientSession:  # noqa: FBT001  # aiohttp takes it so.
        connector = LenientConnector(
            ssl=context,
            resolver=CheckingResolver(ThreadResolver(), allow_private=self._allow_private),
            socket_factory=make_socket_factory(allow_private=self._allow_private),
        )
        return ClientSession(
            connector=connector,
            timeout=ClientTimeout(total=CALL_SECONDS),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
