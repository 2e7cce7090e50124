"""The system that a request is about, which the caller's certificate must open."""

from typing import Any

from domain.errors import Forbidden, RefusalReason
from handlers.requests import Request

SYSTEM = "systemIdentifier"


def let_in(request: Request, given: Any) -> str | None:
    """The system that a request names, None if that cannot be read.

    Raises `Forbidden` for one that the caller may not touch, and for one that does not exist.
    """
    if given is None or any(fault.index is None and fault.field == SYSTEM for fault in request.violations):
        return None
    system_id: str = given.lower()
    if system_id not in request.systems:
        raise Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED, "The certificate does not open this system")
    request.call.chain = system_id
    return system_id
