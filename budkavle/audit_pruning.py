"""Remove the oldest entries of the audit, up to a checkpoint that the operator's key signs (decision 0036)."""

import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from budkavle.ids import create_id
from budkavle.sealing import SealRefused, collect_hashes, compute_key_id, read_private_key, read_seals
from budkavle.settings import Settings, SettingsUnusable
from domain.audit_checkpoints import NO_CHECKPOINT_HASH, Checkpoint, SignedCheckpoint, write_checkpoint
from domain.errors import BudkavleError
from persistence import audit, audit_checkpoints, audit_pruning
from persistence.audit_pruning import PrunePlan
from persistence.database import Database


class PruneRefused(BudkavleError):
    """The audit cannot be pruned, because it or its checkpoint is not valid."""


@dataclass(frozen=True, slots=True)
class AuditPruner:
    """Prunes the audit. Receipts are kept for `receipt_period`. `seal_file` is compared first, if there is one."""

    database: Database
    key: Ed25519PrivateKey
    public_keys: Sequence[Ed25519PublicKey]
    receipt_period: timedelta
    seal_file: Path | None

    async def count(self, before: datetime, now: datetime) -> int:
        """Return how many entries `prune` would remove."""
        plan = await audit_pruning.plan_prune(self.database, before, now - self.receipt_period, _NO_LIMIT)
        return plan.number

    async def prune(self, before: datetime, now: datetime, operator: str) -> AsyncIterator[int]:
        """Remove entries from before a time, and yield the number of each transaction, which has its own checkpoint.

        Raises `PruneRefused` before anything is removed, if the audit does not match its hashes, seals or checkpoint:
        otherwise a forgery could not be found any more.
        """
        is_verified = False
        while (plan := await self._plan(before, now)).number:
            if not is_verified:
                await self._verify(plan)
                is_verified = True
            signed = self._sign(plan, now)
            entry = signed.build_entry(operator, now, plan.number, create_id())
            if await audit_pruning.prune(self.database, plan, entry):
                yield plan.number

    async def _plan(self, before: datetime, now: datetime) -> PrunePlan:
        try:
            return await audit_pruning.plan_prune(self.database, before, now - self.receipt_period)
        except ValueError as exc:
            raise PruneRefused("the audit cannot be pruned: its last checkpoint cannot be read") from exc

    async def _verify(self, plan: PrunePlan) -> None:
        sealed: Mapping[tuple[str, int], str] = {}
        if self.seal_file is not None and self.seal_file.exists():
            sealed = collect_hashes(read_seals(self.seal_file, self.public_keys))
        if plan.previous is not None:
            check_signature(plan.previous, self.public_keys)
        _, broken = await audit.verify(self.database, None, sealed)
        if broken is not None:
            reason = f"entry {broken.number} of {broken.chain!r}: {broken.reason}"
            raise PruneRefused(f"the audit is broken, and was not pruned: {reason}")

    def _sign(self, plan: PrunePlan, now: datetime) -> SignedCheckpoint:
        previous = plan.previous
        checkpoint = Checkpoint(
            number=1 if previous is None else previous.checkpoint.number + 1,
            time=now,
            previous=NO_CHECKPOINT_HASH if previous is None else previous.hash,
            key=compute_key_id(self.key.public_key()),
            chains=plan.chains,
            receipts_until=plan.receipts_until,
            receipts_expired=now - self.receipt_period,
            state=plan.state,
        )
        text = write_checkpoint(checkpoint)
        return SignedCheckpoint(checkpoint, text, base64.b64encode(self.key.sign(text.encode())).decode())


def create_audit_pruner(
    settings: Settings, database: Database, key_path: Path | None = None, public_keys: Sequence[Ed25519PublicKey] = ()
) -> AuditPruner:
    """Return what prunes the audit with the key in a file, by default that of the settings.

    `public_keys` are former keys of seals and checkpoints. Raises `SealRefused` or `SettingsUnusable`.
    """
    path = key_path or settings.audit_seal_key
    if path is None:
        needed = "removing entries of the audit, as BUDKAVLE_AUDIT_DAYS does, needs BUDKAVLE_AUDIT_SEAL_KEY"
        raise SettingsUnusable(f"unusable settings: {needed}")
    key = read_private_key(path)
    period = timedelta(days=settings.receipt_days)
    return AuditPruner(database, key, [key.public_key(), *public_keys], period, settings.audit_seal_file)


async def verify_checkpoint(database: Database, public_keys: Sequence[Ed25519PublicKey]) -> str | None:
    """Return a line about the last checkpoint, None without one. Raises `SealRefused` unless a key has signed it.

    Without keys, the signature is not verified. `audit.verify` compares it with the entries.
    """
    signed = await audit_checkpoints.find_last(database)
    if signed is None:
        return None
    checkpoint = signed.checkpoint
    removed = sum(head.length for head in checkpoint.chains.values())
    line = f"checkpoint {checkpoint.number} of {checkpoint.time.isoformat(timespec='milliseconds')}"
    if not public_keys:
        return f"ok: {line}, {removed} entries removed; give --public-key to verify its signature"
    check_signature(signed, public_keys)
    return f"ok: {line}, signed, {removed} entries removed"


def check_signature(signed: SignedCheckpoint, public_keys: Sequence[Ed25519PublicKey]) -> None:
    """Check that one of these keys has signed a checkpoint. Raises `SealRefused`."""
    number = signed.checkpoint.number
    key = {compute_key_id(key): key for key in public_keys}.get(signed.checkpoint.key)
    if key is None:
        raise SealRefused(f"checkpoint {number}: the key {signed.checkpoint.key} is not among the given public keys")
    try:
        key.verify(base64.b64decode(signed.signature, validate=True), signed.text.encode())
    except (InvalidSignature, binascii.Error) as exc:
        raise SealRefused(f"checkpoint {number}: the signature is wrong") from exc


_NO_LIMIT = 2**31
