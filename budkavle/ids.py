"""Ids of new objects."""

import time
import uuid

_VERSION = 7 << 76
_RANDOM = (1 << 76) - 1
"""The bits of a random UUID that a UUID of version 7 has too: all after the version."""


def create_id() -> str:
    """Return a new UUID of version 7: the time in milliseconds, then 74 random bits.

    Ids of the same time are neighbours in an index, so that a commit of several objects writes few pages.
    """
    milliseconds = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=milliseconds << 80 | _VERSION | uuid.uuid4().int & _RANDOM))
