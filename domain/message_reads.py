"""Reads of web messages, counted for the audit without personal data (decision 0033)."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from domain.web_messages import ExternalReference, WebMessage, normalise_references

KEY_BYTES = 32

Subject = str
"""The person that a message concerns: its party, or one of its references. It is never stored."""


def build_party_subject(party_id: str) -> Subject:
    """Return the subject of messages to a party. `party_id` is in lower case."""
    return f"party:{party_id}"


def build_reference_subject(reference: ExternalReference) -> Subject:
    """Return the subject of messages without a party that have a reference."""
    [normalised] = normalise_references([reference])
    return f"reference:{json.dumps([normalised.key, normalised.value])}"


def list_subjects(messages: Iterable[WebMessage]) -> set[Subject]:
    """Return the parties of messages, and the references of those without a party."""
    subjects = set()
    for message in messages:
        if message.party_id is not None:
            subjects.add(build_party_subject(message.party_id))
        else:
            subjects.update(map(build_reference_subject, message.external_references))
    return subjects


def hash_subject(subject: Subject) -> bytes:
    """Return the SHA-256 of a subject, under which its key is stored."""
    return hashlib.sha256(subject.encode()).digest()


def sign_subject(subject: Subject, key: bytes) -> str:
    """Return the HMAC-SHA256 of a subject in hexadecimal, by which the audit names it."""
    return hmac.new(key, subject.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class ReadCounts:
    """The reads of one caller: how often it read messages of a subject, by operation and subject."""

    caller: str
    first: datetime
    numbers: Counter[tuple[str, Subject]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class RecordedReads:
    """How often a caller read the messages of a subject with an operation: after `first`, and before `recorded`."""

    caller: str
    operation: str
    first: datetime
    recorded: datetime
    number: int
