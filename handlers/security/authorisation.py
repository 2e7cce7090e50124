"""Authorise the caller's certificate for the system of a request."""

from typing import Any

from domain.errors import Forbidden, RefusalReason
from handlers.requests import Request

SYSTEM = "systemIdentifier"


def authorise_system(request: Request, given: Any) -> str | None:
    """Return the system of a request, or None if it could not be parsed.

    Raises `Forbidden` for a system that does not exist or that the caller has no access to.
    """
    if given is None or any(fault.index is None and fault.field == SYSTEM for fault in request.violations):
        return None
    system_id: str = given.lower()
    if system_id not in request.caller.systems:
        raise Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED, "The certificate is not authorised for this system")
    request.call.chain = system_id
    return system_id
