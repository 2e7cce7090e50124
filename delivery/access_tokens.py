"""Access tokens for calls to a receiver, which are requested with client credentials and shared by its deliveries.

A token is requested when a delivery needs one, and replaced in the background shortly before it expires, or when the
receiver rejects it. A failed request is repeated after a delay, so that an endpoint that is down, or that rejects the
client, gets few requests however many deliveries wait. Source: decision 0031.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from aiohttp import ClientError
from yarl import URL

from delivery.failures import map_error
from delivery.response_bodies import read_beginning
from delivery.shared_sessions import SharedSession
from domain.catalogue import TokenClient
from domain.errors import BudkavleError
from oauth2.client_credentials import (
    MAX_BYTES,
    IssuedToken,
    TokenResponseWrong,
    build_token_request,
    parse_token_response,
)

EARLY_SECONDS = 60.0
"""A token is replaced this long before it expires, but not before half of its lifetime."""

RETRY_DELAY = timedelta(seconds=5)
"""The time from a failed request to the next one."""

LONGEST_ATTEMPT = timedelta(seconds=60)

REPLACEMENT_INTERVAL = timedelta(seconds=10)
"""Minimum time between two replacements of tokens that the receiver rejects."""

log = structlog.get_logger("budkavle.delivery")


class TokenUnavailable(BudkavleError):
    """There is no token. The message names the endpoint and the cause, and contains no secret."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A token, and the moment before it was requested."""

    issued: IssuedToken = field(repr=False)
    requested: datetime

    def is_younger_than(self, seconds: float, now: datetime) -> bool:
        # The attempt may have begun before the one that requested the token. If the clock is set back by more than an
        # attempt takes, the token must not stay in use for longer.
        return -LONGEST_ATTEMPT < now - self.requested < timedelta(seconds=seconds)

    def is_valid(self, now: datetime) -> bool:
        return self.is_younger_than(self.issued.seconds, now)

    def expires_soon(self, now: datetime) -> bool:
        seconds = self.issued.seconds
        return not self.is_younger_than(max(seconds / 2, seconds - EARLY_SECONDS), now)


class AccessTokens:
    """The tokens of one receiver. There is at most one request at a time."""

    def __init__(self, system_id: str, client: TokenClient, secret: str) -> None:
        self.secret = secret
        self._system_id = system_id
        self._client = client
        self._token: _Token | None = None
        self._request: asyncio.Task[str | None] | None = None
        self._failure = ""
        self._failed: datetime | None = None
        self._replaced: datetime | None = None

    async def get(self, session: SharedSession, now: datetime, deadline: float) -> str:
        """Return a valid token. `deadline` is a time of the event loop. Raises `TokenUnavailable`."""
        token = self._token
        if token is None or not token.is_valid(now):
            return await self._wait_for_new(session, now, deadline)
        if token.expires_soon(now) and not self._is_within(self._failed, RETRY_DELAY, now):
            self._begin_request(session, now)
        return token.issued.text

    async def replace(self, rejected: str, session: SharedSession, now: datetime, deadline: float) -> str | None:
        """Return another token than one that the receiver has rejected, or None if there is none yet.

        A receiver that rejects every token causes one request per `REPLACEMENT_INTERVAL`. Raises `TokenUnavailable`.
        """
        if self._token is not None and self._token.issued.text == rejected:
            if self._is_within(self._replaced, REPLACEMENT_INTERVAL, now):
                return None
            self._replaced = now
            self._token = None
        token = await self.get(session, now, deadline)
        # Some endpoints issue the same token until it expires.
        return None if token == rejected else token

    async def close(self) -> None:
        """End the request that is under way."""
        if self._request is not None:
            self._request.cancel()
            await asyncio.wait([self._request])

    async def _wait_for_new(self, session: SharedSession, now: datetime, deadline: float) -> str:
        if self._request is None and self._is_within(self._failed, RETRY_DELAY, now):
            raise TokenUnavailable(self._failure)
        request = self._begin_request(session, now)
        try:
            async with asyncio.timeout_at(deadline):
                # An attempt that is cancelled must not cancel the request of the others.
                await asyncio.wait([request])
        except TimeoutError:
            raise TokenUnavailable(self._describe("has not answered in time")) from None
        token = request.result()
        if token is None:
            raise TokenUnavailable(self._failure)
        return token

    def _begin_request(self, session: SharedSession, now: datetime) -> "asyncio.Task[str | None]":
        """Return the request that is under way, a new one if there is none."""
        if self._request is None:
            self._request = asyncio.create_task(self._update(session, now))
        return self._request

    async def _update(self, session: SharedSession, now: datetime) -> str | None:
        """Request a token. Return it, or None after a failure."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            with session:
                issued = await self._post(session)
        except (TokenResponseWrong, ClientError, OSError, ValueError, RuntimeError) as exc:
            self._failed = now + timedelta(seconds=loop.time() - begun)
            self._failure = self._describe(self._describe_error(exc))
            log.warning("access_token_request_failed", system=self._system_id, reason=self._failure)
            return None
        else:
            self._token, self._failed = _Token(issued, now), None
            log.info("access_token_received", system=self._system_id, seconds=issued.seconds)
            return issued.text
        finally:
            self._request = None

    async def _post(self, session: SharedSession) -> IssuedToken:
        headers, body = build_token_request(self._client, self.secret)
        url = URL(self._client.token_url, encoded=True)
        response = await session.http.post(url, data=body, headers=headers, allow_redirects=False)
        received = await read_beginning(response, MAX_BYTES + 1)
        return parse_token_response(response.status, received)

    def _describe(self, event: str) -> str:
        return f"the token endpoint {self._client.token_url} {event}"

    def _describe_error(self, error: Exception) -> str:
        if isinstance(error, TokenResponseWrong):
            return str(error)
        failed = map_error(error, is_tls=self._client.token_url.startswith("https:"))
        return f"cannot be called ({failed.reason}{f': {failed.detail}' if failed.detail else ''})"

    @staticmethod
    def _is_within(moment: datetime | None, period: timedelta, now: datetime) -> bool:
        return moment is not None and abs(now - moment) < period
