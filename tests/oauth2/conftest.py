"""Verify tokens of an issuer whose keys are in a file."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oauth2.verification import TokenVerifier, VerifiedToken
from tests.tokens import create_issuer, create_token_key, write_key_set


def read_clock() -> datetime:
    return datetime.now(UTC)


Verify = Callable[..., VerifiedToken]


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Return a function that verifies a token once, by default with `create_token_key()`, and changes of the issuer."""

    def verify_once(
        token: str | bytes, *keys: Any, header: str | None = None, issuer_header: str | None = None, **changes: Any
    ) -> VerifiedToken:
        path = write_key_set(tmp_path / "jwks.json", *(keys or (create_token_key(),)))
        verifier = TokenVerifier([create_issuer(f"file:{path}", header=issuer_header, **changes)], now=read_clock)
        return asyncio.run(verifier.verify(token.encode() if isinstance(token, str) else token, header=header))

    return verify_once
