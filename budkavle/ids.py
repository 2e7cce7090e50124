"""Ids of new objects."""

import uuid


def new_id() -> str:
    """Return a new random id."""
    return str(uuid.uuid4())
