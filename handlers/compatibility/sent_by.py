"""The header `X-Sent-By`, in which callers name the person or system that acts: `joe01doe; type=adAccount`."""

import re

from handlers.requests import Request

_SENT_BY = re.compile(r"([^;]*[^;\s])\s*;\s*type\s*=\s*(adAccount|partyId|custom)", re.IGNORECASE)
_TYPES = {name.lower(): name for name in ("adAccount", "partyId", "custom")}

MAX_LENGTH = 255
"""Maximum characters of an account in the audit."""


def read_sent_by(request: Request) -> dict[str, object]:
    """Return the acting account for the audit, and add the type of the header to the log.

    Parties, and what callers define themselves, may be persons: they are neither logged nor recorded. A header of
    another form is ignored.
    """
    match = _SENT_BY.fullmatch(request.parameters.get("X-Sent-By", "").strip())
    if match is None:
        return {}
    value, kind = match[1].strip(), _TYPES[match[2].lower()]
    request.log["sent_by_type"] = kind
    return {"sentBy": value[:MAX_LENGTH]} if kind == "adAccount" else {}
