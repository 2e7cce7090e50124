"""Files of issuers for services that accept access tokens."""

import json
from pathlib import Path
from typing import Any

from tests.tokens import AUDIENCE, ISSUER, TokenKey, create_claims, create_token, create_token_key, write_key_set

HEADER = "X-JWT-Assertion"


def write_issuers(
    folder: Path, *keys: TokenKey, jwks: str | None = None, with_gateway: bool = False, **changes: Any
) -> Path:
    """Write the file of one issuer with these keys, and return its path.

    `jwks` replaces the file of keys; `changes` are other values of the issuer, and `resource`. `with_gateway` accepts
    its tokens from a gateway as well.
    """
    write_key_set(folder / "jwks.json", *keys)
    resource = {"resource": changes.pop("resource")} if "resource" in changes else {}
    issuer = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["ES256", "RS256"],
        "jwks": jwks or "file:jwks.json",
        "scopes": {
            "map": {
                "wms:write": "messages",
                "wms:read": "messages.read",
                "events": "publish",
                "events:8": "publish:8",
                "two words": "messages",
            }
        },
        "systems": {"claim": "system"},
    }
    path = folder / "issuers.yaml"
    # JSON is YAML.
    issuers = [{**issuer, **changes}, *([{**issuer, **changes, "header": HEADER}] if with_gateway else [])]
    path.write_text(json.dumps({**resource, "issuers": issuers}))
    return path


def bear(token: str | None = None, **claims: Any) -> dict[str, str]:
    """Return the header with a token; by default a good one with changed claims."""
    return {"Authorization": f"Bearer {token or create_good_token(**claims)}"}


def create_good_token(**claims: Any) -> str:
    return create_token(create_token_key(), create_claims(**claims))
