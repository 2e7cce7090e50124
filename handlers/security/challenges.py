"""The challenges to callers without access: the content of `WWW-Authenticate` (RFC 9110, section 11.6.1)."""

import re
from collections.abc import Iterable
from enum import StrEnum

from handlers.issuers import is_scope

_REALM = 'realm="budkavle"'

MAX_SCOPES = 1024
"""Maximum characters of all scopes in a challenge: proxies reject a response whose headers exceed some kilobytes."""

KEY = f'ApiKey {_REALM}, header="apikey"'
CERTIFICATE = f"ClientCertificate {_REALM}"


class BearerError(StrEnum):
    """The errors of RFC 6750, section 3.1."""

    INVALID_REQUEST = "invalid_request"
    INVALID_TOKEN = "invalid_token"  # noqa: S105  # It is an error.
    INSUFFICIENT_SCOPE = "insufficient_scope"


def build_bearer_challenge(
    metadata_url: str | None, error: BearerError | None = None, description: str = "", scopes: Iterable[str] = ()
) -> str:
    """Return the challenge for callers with access tokens (RFC 6750, section 3).

    `error` is None if the request has no token. `scopes` are those that would give access; texts that no scope may
    contain are omitted, and those beyond `MAX_SCOPES`. `metadata_url` is that of the protected resource (RFC 9728,
    section 5.1).
    """
    parameters = {
        "error": error,
        "error_description": description,
        "scope": _join_scopes(filter(is_scope, scopes)),
        "resource_metadata": metadata_url,
    }
    added = [f'{name}="{_FORBIDDEN.sub("?", value)}"' for name, value in parameters.items() if value]
    return ", ".join([f"Bearer {_REALM}", *added])


def _join_scopes(scopes: Iterable[str]) -> str:
    joined = " ".join(scopes)
    # A scope that is cut through is not one.
    return joined if len(joined) <= MAX_SCOPES else joined[: MAX_SCOPES + 1].rpartition(" ")[0]


_FORBIDDEN = re.compile(r"[^ !#-\[\]-~]")
"""A character that no value of a parameter may contain."""
