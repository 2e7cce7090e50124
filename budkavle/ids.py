"""Ids of new objects."""

import secrets
import time

_VERSION, _VARIANT = 7 << 76, 2 << 62
"""The bits of all UUIDs of version 7 (RFC 9562, section 5.7)."""
_LOW = (1 << 62) - 1
"""The bits after the variant."""


def create_id() -> str:
    """Return a new UUID of version 7: the time in milliseconds, then 74 random bits.

    Ids of the same time are neighbours in an index, so that a commit of several objects writes few pages.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = milliseconds << 80 | _VERSION | random >> 62 << 64 | _VARIANT | random & _LOW
    # The class `UUID` would take most of the time.
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
