"""Seal the audit: sign the ends of all chains with an operator's key, and append the seal to a file.

Each line of the file is the signature in base64, a space, and the JSON text of the seal that is signed.
"""

import asyncio
import base64
import binascii
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from budkavle.background import BackgroundWork
from budkavle.ids import create_id
from budkavle.receipt_sealing import seal_receipts, set_seal_due
from budkavle.settings import Settings, SettingsUnusable
from domain.audit import NO_CALLER, SEALS, AuditEntry
from domain.errors import BudkavleError
from domain.seals import (
    NO_SEAL,
    RecordedSeal,
    Seal,
    collect_sealed_hashes,
    find_unknown_seal,
    hash_seal,
    parse_seal,
    write_seal,
)
from persistence import api_keys, audit, audit_seals
from persistence.database import Database
from persistence.repeated_work import FailureLog, run_repeatedly

log = structlog.get_logger("budkavle.sealing")

CHECK_INTERVAL = timedelta(minutes=1)
"""Maximum time between two looks whether a seal is due."""


class SealRefused(BudkavleError):
    """The audit cannot be sealed, or does not match its seals."""


@dataclass(frozen=True, slots=True)
class StoredSeal:
    """A line of a file of seals: the seal, the signed text, and the signature."""

    seal: Seal
    text: str
    signature: bytes

    @property
    def record(self) -> RecordedSeal:
        """Return the number and hash of the seal."""
        return RecordedSeal(self.seal.number, hash_seal(self.text))


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a PEM file. Raises `SealRefused`."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as exc:
        raise SealRefused(f"{path} has no private key in PEM without a password") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise SealRefused(f"the key in {path} is not an Ed25519 key")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file. Raises `SealRefused`."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise SealRefused(f"{path} has no public key in PEM") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise SealRefused(f"the key in {path} is not an Ed25519 key")
    return key


def compute_key_id(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the 32 bytes of a public key in hexadecimal."""
    digest = Hash(SHA256())
    digest.update(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return digest.finalize().hex()


async def seal_audit(
    database: Database,
    key: Ed25519PrivateKey,
    path: Path,
    now: datetime,
    *,
    is_new: bool = False,
    min_age: timedelta | None = None,
    operator: str = NO_CALLER,
) -> Seal:
    """Append a seal to a file, and record it in the audit. Return the seal, or the last one if it is not `min_age` old.

    `is_new` continues in a file without seals. Raises `SealRefused` if the file lacks a seal that the audit has
    recorded, or if the audit no longer has what the last seal covers.
    """
    with _lock(path) as file:
        last = await asyncio.to_thread(_read_last, file, path)
        if last is not None and min_age is not None and now - last.seal.time < min_age:
            return last.seal
        previous = await _check_last(database, last, path, is_new=is_new)
        # Otherwise no seal would cover new receipts, and keys of versions that recorded none.
        await seal_receipts(database, now)
        await api_keys.record_first(database, now, create_id())
        heads = await audit_seals.read_heads(database)
        key_id = compute_key_id(key.public_key())
        # A clock that was set back must not make the file invalid.
        time = now if last is None else max(now, last.seal.time)
        seal = Seal(previous.number + 1, time, previous.hash, key_id, heads)
        text = write_seal(seal)
        await asyncio.to_thread(_append, file, path, text, key.sign(text.encode()))
    # Record it afterwards: a seal that was recorded but not stored would look as if it had been removed.
    detail = {"number": seal.number, "hash": hash_seal(text), "key": key_id}
    await audit.record(database, AuditEntry(SEALS, "change", now, "seal", operator, "sealed", create_id(), detail))
    return seal


class RegularSeals(BackgroundWork):
    """Seals the audit regularly, in a process next to its servers."""

    def __init__(
        self, database: Database, key_path: Path, path: Path, interval: timedelta, now: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self._database = database
        self._key_path = key_path
        self._path = path
        self._interval = interval
        self._now = now
        set_seal_due("audit", now())

    async def run_once(self) -> Seal:
        """Seal the audit unless the last seal is recent. Return the last seal. Raises `SealRefused`."""
        key = read_private_key(self._key_path)
        last = await seal_audit(self._database, key, self._path, self._now(), min_age=self._interval)
        set_seal_due("audit", last.time + self._interval)
        return last

    async def _run_forever(self) -> None:
        failures = FailureLog(log, "audit_not_sealed", "audit_seal_failed", refused="audit_not_sealed")
        # Look more often than necessary: other processes may share the file, and a failure should end soon.
        await run_repeatedly(self.run_once, failures, min(self._interval, CHECK_INTERVAL).total_seconds())


def create_regular_seals(settings: Settings, database: Database, now: Callable[[], datetime]) -> list[RegularSeals]:
    """Return the regular seals that the settings require, or none. Raises `SettingsUnusable`."""
    if settings.audit_seal_hours == 0:
        return []
    if settings.audit_seal_key is None or settings.audit_seal_file is None:
        raise SettingsUnusable(
            "unusable settings: BUDKAVLE_AUDIT_SEAL_HOURS needs BUDKAVLE_AUDIT_SEAL_KEY and BUDKAVLE_AUDIT_SEAL_FILE"
        )
    interval = timedelta(hours=settings.audit_seal_hours)
    return [RegularSeals(database, settings.audit_seal_key, settings.audit_seal_file, interval, now)]


async def _check_last(database: Database, last: StoredSeal | None, path: Path, *, is_new: bool) -> RecordedSeal:
    """Return the previous seal of the next one."""
    recorded = await audit_seals.list_recorded(database)
    newest = recorded[-1] if recorded else NO_SEAL
    if last is None:
        if recorded and not is_new:
            raise SealRefused(f"{path} has no seals, but the audit has recorded seal {newest.number}")
        return newest
    if is_new:
        raise SealRefused(f"{path} has seals already")
    if newest.number > last.seal.number or (newest.number == last.seal.number and newest != last.record):
        raise SealRefused(f"{path} lacks seal {newest.number}, which the audit has recorded")
    broken = await audit_seals.find_broken_seal(database, collect_sealed_hashes([last.seal]))
    if broken is not None:
        raise SealRefused(
            f"the audit does not match seal {last.seal.number}: "
            f"entry {broken.number} of {broken.chain!r}: {broken.reason}"
        )
    return last.record


def read_seals(path: Path, keys: Sequence[Ed25519PublicKey]) -> list[StoredSeal]:
    """Return the seals in a file after checking signatures, numbers, times and hashes of previous ones.

    Raises `SealRefused` for the first wrong line. An incomplete last line, from an interrupted write, is no seal.
    """
    by_id = {compute_key_id(key): key for key in keys}
    seals: list[StoredSeal] = []
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as exc:
        raise SealRefused(f"{path} cannot be read") from exc
    for number, line in enumerate(lines, 1):
        try:
            stored = _parse_line(line)
            _check_signature(stored, by_id)
            if seals:
                _check_order(seals[-1], stored)
        except ValueError as exc:
            raise SealRefused(f"line {number} of {path} is not a valid seal: {exc}") from exc
        seals.append(stored)
    if not seals:
        raise SealRefused(f"{path} has no seals")
    return seals


def collect_hashes(seals: Sequence[StoredSeal]) -> Mapping[tuple[str, int], str]:
    """Return the hash that each sealed entry must have, by chain and number. Raises `SealRefused`."""
    try:
        return collect_sealed_hashes(stored.seal for stored in seals)
    except ValueError as exc:
        raise SealRefused(str(exc)) from exc


def check_recorded(seals: Sequence[StoredSeal], recorded: Sequence[RecordedSeal]) -> None:
    """Check that the seals that the audit has recorded are among the stored ones. Raises `SealRefused`."""
    unknown = find_unknown_seal(recorded, {stored.seal.number: stored.record.hash for stored in seals})
    if unknown is not None:
        raise SealRefused(f"seal {unknown.number}, which the audit has recorded, is missing or differs")


def _parse_line(line: bytes) -> StoredSeal:
    signature, _, text = line.partition(b" ")
    try:
        json_text = text.decode("ascii")
        return StoredSeal(parse_seal(json_text), json_text, base64.b64decode(signature, validate=True))
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise ValueError("not a signature in base64, a space and JSON in ASCII") from exc


def _check_signature(stored: StoredSeal, keys: Mapping[str, Ed25519PublicKey]) -> None:
    key = keys.get(stored.seal.key)
    if key is None:
        raise ValueError(f"the key {stored.seal.key} is not among the given public keys")
    try:
        key.verify(stored.signature, stored.text.encode())
    except InvalidSignature as exc:
        raise ValueError("the signature is wrong") from exc


def _check_order(before: StoredSeal, after: StoredSeal) -> None:
    if after.seal.number != before.seal.number + 1:
        raise ValueError(f"seal {after.seal.number} follows seal {before.seal.number}")
    if after.seal.previous != hash_seal(before.text):
        raise ValueError(f"seal {after.seal.number} continues another seal {before.seal.number}")
    if after.seal.time < before.seal.time:
        raise ValueError(f"seal {after.seal.number} is older than seal {before.seal.number}")


@contextmanager
def _lock(path: Path) -> Iterator[BinaryIO]:
    """Open a file of seals, which is created if it is missing, and lock it until the context ends."""
    try:
        file = path.open("a+b")
    except OSError as exc:
        raise SealRefused(f"{path} cannot be written: {exc.strerror}") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SealRefused(f"another process is writing to {path}") from exc
        yield file


_BLOCK = 65_536


def _read_last(file: BinaryIO, path: Path) -> StoredSeal | None:
    """Return the last seal of a file. Remove an incomplete line after it, which an interrupted write has left."""
    size = file.seek(0, os.SEEK_END)
    start, tail = size, b""
    # The last complete line begins after the second line break from the end.
    while start > 0 and tail.count(b"\n") <= 1:
        start = max(0, start - _BLOCK)
        file.seek(start)
        tail = file.read(size - start)
    complete, _, incomplete = tail.rpartition(b"\n")
    if incomplete:
        file.truncate(size - len(incomplete))
    if not complete:
        return None
    try:
        return _parse_line(complete.rpartition(b"\n")[2])
    except ValueError as exc:
        raise SealRefused(f"the last line of {path} is not a seal: {exc}") from exc


def _append(file: BinaryIO, path: Path, text: str, signature: bytes) -> None:
    file.write(base64.b64encode(signature) + b" " + text.encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
