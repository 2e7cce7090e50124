"""Ids of what the service makes."""

import uuid


def new_id() -> str:
    """A new random id."""
    return str(uuid.uuid4())
