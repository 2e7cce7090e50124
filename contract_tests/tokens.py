"""Access tokens for a check: fetch them with client credentials (RFC 6749, section 4.4), and renew them in time.

Only the process of the command knows the client's secret. It writes each token to a file that only its user can read;
the suites, which are other processes, read the last line of the file before each request.
"""

import base64
import json
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

DEFAULT_SECONDS = 60
"""The lifetime of a token whose response does not have it."""
EARLY_SECONDS = 60
"""A token is renewed this long before it expires, but not before half of its lifetime."""
RETRY_SECONDS = 5
"""Seconds between two attempts to renew a token."""

TIMEOUT_SECONDS = 10.0
"""The maximum duration of a request for a token."""
_MAX_BYTES = 64 * 1024
_LONGEST = 300
"""Maximum characters of a response in an error."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The form of a token in a header (RFC 6750, section 2.1)."""


class TokenError(Exception):
    """There is no valid token. The text names the cause, and contains no secret."""


@dataclass(frozen=True)
class Issued:
    """A token, and the seconds that it is valid; None if that is unknown."""

    token: str = field(repr=False)
    seconds: float | None = None


class TokenSource(Protocol):
    """Returns tokens."""

    @property
    def secret(self) -> str | None:
        """The secret with which it fetches them."""

    def fetch(self) -> Issued:
        """Return a valid token. Raises TokenError."""


@dataclass(frozen=True)
class ClientCredentials:
    """The credentials of a client, and the endpoint that issues tokens for them."""

    url: str
    client_id: str
    secret: str = field(repr=False)
    parameters: Sequence[tuple[str, str]] = ()
    """Parameters of the request besides `grant_type`, such as `scope`."""
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    is_secret_in_body: bool = False
    """Whether the endpoint takes the secret in the body (`client_secret_post`) instead of a header."""
    timeout: float = TIMEOUT_SECONDS

    def fetch(self) -> Issued:
        """Return a new token. Raises TokenError."""
        # The timeout of a socket begins again with each byte. A thread that still waits ends with its process.
        results: SimpleQueue[Issued | Exception] = SimpleQueue()
        threading.Thread(target=lambda: results.put(self._try_to_fetch()), daemon=True).start()
        try:
            result = results.get(timeout=self.timeout)
        except Empty:
            reason = f"has not answered completely within {self.timeout:g} s"
            raise TokenError(f"the token endpoint {self.url} {reason}") from None
        if isinstance(result, Exception):
            raise result
        return result

    def _try_to_fetch(self) -> Issued | Exception:
        try:
            return self._fetch()
        except Exception as exc:  # noqa: BLE001  # `fetch` raises it.
            return exc

    def _fetch(self) -> Issued:
        form = [("grant_type", "client_credentials"), *self.parameters]
        headers = {"Accept": "application/json"}
        if self.is_secret_in_body:
            form += [("client_id", self.client_id), ("client_secret", self.secret)]
        else:
            # The separator may occur in both parts, so they are encoded (RFC 6749, section 2.3.1).
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        request = Request(self.url, urlencode(form).encode(), headers)
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=self.trust), _NoRedirects)
        try:
            with opener.open(request, timeout=self.timeout) as response:
                status, body = response.status, _read(response)
        except HTTPError as exc:
            with exc:
                raise TokenError(self._describe_refusal(exc.code, exc.headers, _read(exc))) from None
        except (OSError, HTTPException) as exc:
            raise TokenError(f"the token endpoint {self.url} cannot be reached: {exc}") from None
        return self._parse(status, body)

    def _describe_refusal(self, status: int, headers: Message, body: bytes) -> str:
        place = headers.get("Location")
        if place is not None:
            return f"the token endpoint {self.url} redirects to {place[:_LONGEST]}"
        value = _parse_object(body)
        # RFC 6749, section 5.2.
        words = [str(value[name]) for name in ("error", "error_description") if name in value]
        reason = ": ".join(words) or body.decode(errors="replace")
        return f"the token endpoint {self.url} answered {status} {' '.join(reason.split())[:_LONGEST]}".rstrip()

    def _parse(self, status: int, body: bytes) -> Issued:
        value = _parse_object(body)
        token, kind = value.get("access_token"), value.get("token_type")
        answered = f"the token endpoint {self.url} answered {status}"
        if not isinstance(token, str):
            raise TokenError(f"{answered} without an access_token")
        if _TOKEN.fullmatch(token) is None:
            raise TokenError(f"{answered} with an access_token that a header cannot contain")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise TokenError(f"{answered} with the token_type {kind!r} instead of Bearer")
        return Issued(token, _parse_seconds(value.get("expires_in")) or DEFAULT_SECONDS)


class _NoRedirects(HTTPRedirectHandler):
    """Redirects would send the request elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Return no further request, so that the redirect is an error."""


@dataclass(frozen=True)
class GivenToken:
    """A token that was given as TEXT or @FILE. The file is read again when its token expires."""

    text: str = field(repr=False)
    secret: None = None

    def fetch(self) -> Issued:
        """Return the token. Raises TokenError if it cannot be read or has expired."""
        token = self.text
        if token.startswith("@"):
            try:
                token = Path(token[1:]).read_text(encoding="ascii").strip()
            except (OSError, ValueError) as exc:
                raise TokenError(f"the file of the token cannot be read: {exc}") from None
        if _TOKEN.fullmatch(token) is None:
            raise TokenError("the token is empty, or contains characters that a header cannot contain")
        seconds = _read_seconds(token)
        if seconds is not None and seconds <= 0:
            raise TokenError("the token has expired; --token-url renews tokens")
        return Issued(token, seconds)


def is_bound(token: str) -> bool:
    """Return whether a JWT is bound to a certificate or a key (RFC 7800)."""
    return "cnf" in _read_claims(token)


def _read_seconds(token: str) -> float | None:
    """Return the seconds until a JWT expires, None for other tokens."""
    try:
        expires = float(_read_claims(token)["exp"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return expires - time.time() if math.isfinite(expires) else None


def _read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without verifying it, none of other tokens."""
    try:
        part = token.split(".")[1]
        return _parse_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}


class Tokens:
    """The tokens of a check, in a file that only its user can read."""

    def __init__(self, file: Path, source: TokenSource, clock: Callable[[], float] = time.monotonic) -> None:
        """Fetch the first token. Raises TokenError."""
        self.file = file
        self._source = source
        self._clock = clock
        self._renewed_at = self._expires_at = math.inf
        self.current = ""
        file.touch(mode=0o600)
        self._store(source.fetch())

    @property
    def secret(self) -> str | None:
        """The secret of the source, which no report may contain."""
        return self._source.secret

    def renew(self) -> None:
        """Replace the token if it expires soon. Raises TokenError if it has expired and there is no other one."""
        now = self._clock()
        if now < self._renewed_at:
            return
        try:
            self._store(self._source.fetch())
        except TokenError:
            if now >= self._expires_at:
                raise
            self._renewed_at = min(now + RETRY_SECONDS, self._expires_at)

    def _store(self, issued: Issued) -> None:
        if read_tokens(self.file)[-1:] != [issued.token]:
            with self.file.open("a", encoding="ascii") as file:
                file.write(f"{issued.token}\n")
        self.current = issued.token
        now = self._clock()
        seconds = math.inf if issued.seconds is None else issued.seconds
        self._expires_at = now + seconds
        self._renewed_at = now + max(seconds / 2, seconds - EARLY_SECONDS)


def read_tokens(file: Path) -> list[str]:
    """Return the tokens of a check, the current one last."""
    return file.read_text(encoding="ascii").split()


def cut_token(token: str) -> str:
    """Return a token without its last character."""
    return token[:-1]


def extend_token(token: str) -> str:
    """Return a token with one more character."""
    return f"{token}x"


def unsign_token(token: str) -> str:
    """Return a JWT without its signature, another token with a dot."""
    return f"{token.rpartition('.')[0] or token}."


def _read(response: IO[bytes]) -> bytes:
    try:
        return response.read(_MAX_BYTES)
    except (OSError, HTTPException):
        return b""


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _parse_seconds(value: object) -> float | None:
    """Return a positive number; some issuers write it as a text."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None
