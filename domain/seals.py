"""Seals of the audit, which state the last hashes of all chains. `docs/reference/audit-hashes.md` specifies them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.audit import FIRST_HASH, ChainHead

TYPE, VERSION = "budkavle-audit-seal", 1


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal: the ends of all chains at `time`.

    `previous` is the hash of the previous seal, and `key` the SHA-256 of the public key. The first seal has number 1.
    """

    number: int
    time: datetime
    previous: str
    key: str
    chains: Mapping[str, ChainHead]


@dataclass(frozen=True, slots=True)
class RecordedSeal:
    """The number and hash of a seal, as the audit records them after the seal was stored."""

    number: int
    hash: str


NO_SEAL = RecordedSeal(0, FIRST_HASH)
"""The seal before the first one."""


def write_seal(seal: Seal) -> str:
    """Return the JSON text of a seal on one line. The signature and the hash of the seal cover this text."""
    value = {
        "type": TYPE,
        "version": VERSION,
        "number": seal.number,
        "time": seal.time.isoformat(timespec="milliseconds"),
        "previous": seal.previous,
        "key": seal.key,
        "chains": {name: [head.length, head.hash] for name, head in sorted(seal.chains.items())},
    }
    return json.dumps(value, separators=(",", ":"))


def parse_seal(text: str) -> Seal:
    """Return the seal with this JSON text. Raises `ValueError`."""
    value = json.loads(text)
    if not isinstance(value, dict) or (value.get("type"), value.get("version")) != (TYPE, VERSION):
        raise ValueError(f"not a seal of version {VERSION}")
    try:
        seal = Seal(
            number=_check_number(value["number"]),
            time=datetime.fromisoformat(value["time"]),
            previous=_check_hash(value["previous"]),
            key=_check_hash(value["key"]),
            chains={
                name: ChainHead(_check_hash(hash_), _check_number(length))
                for name, (length, hash_) in value["chains"].items()
            },
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError("a property is missing or has another type") from exc
    if write_seal(seal) != text:
        raise ValueError("not in the format of a seal")
    return seal


def hash_seal(text: str) -> str:
    """Return the hash of the JSON text of a seal."""
    return hashlib.sha256(text.encode()).hexdigest()


def collect_sealed_hashes(seals: Iterable[Seal]) -> dict[tuple[str, int], str]:
    """Return the hash that each sealed entry must have, by chain and number.

    Raises `ValueError` if two seals contradict one another.
    """
    hashes: dict[tuple[str, int], str] = {}
    for seal in seals:
        for name, head in seal.chains.items():
            if hashes.setdefault((name, head.length), head.hash) != head.hash:
                raise ValueError(f"seal {seal.number} contradicts an earlier one about entry {head.length} of {name!r}")
    return hashes


def find_unknown_seal(recorded: Iterable[RecordedSeal], hashes: Mapping[int, str]) -> RecordedSeal | None:
    """Return the first seal of the audit that is not among the stored ones, given by number and hash, or None.

    Earlier seals than the first stored one may be in an earlier file.
    """
    first = min(hashes)
    return next((seal for seal in recorded if seal.number >= first and hashes.get(seal.number) != seal.hash), None)


def _check_number(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("a number is not positive")
    return value


def _check_hash(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("a hash is not 64 lower-case hexadecimal digits")
    return value
