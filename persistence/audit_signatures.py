"""State in the audit that entries are signed from now on, and verify their signatures (decision 0032)."""

import json
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from domain.audit import SIGNING, AuditEntry, BrokenChain
from domain.audit_signatures import EntrySigner, Signing, is_signed, parse_signing
from persistence import audit
from persistence.audit_seals import find_unlike_sealed, read_chain_heads
from persistence.database import Database
from persistence.tables import audit_entries
from persistence.work import long_read, short_read, short_write


async def start(database: Database, now: datetime, request_id: str, operator: str) -> int:
    """Append an entry that states that all later entries are signed. Return the number of chains until then."""
    return await database.write(_start, now, request_id, operator)


async def find_signing(database: Database, signers: Sequence[EntrySigner]) -> tuple[bool, Signing | None]:
    """Return whether entries are signed, and the earliest statement of that which one of the signers has signed."""
    return await database.read(_find_signing, signers)


async def verify(database: Database, signers: Sequence[EntrySigner]) -> tuple[int, BrokenChain | None]:
    """Return the number of signed entries, and the first one without a right signature, or None.

    Hashes are not computed: `audit.verify` does.
    """
    return await database.read(_verify, signers)


PAGE = 1000
_STATEMENTS = (
    sa.select(audit_entries.c.number, audit_entries.c.hash, audit_entries.c.signature, audit_entries.c.detail)
    .where(audit_entries.c.chain == SIGNING)
    .order_by(audit_entries.c.number)
)
_SIGNATURES = (
    sa.select(
        audit_entries.c.id,
        audit_entries.c.chain,
        audit_entries.c.number,
        audit_entries.c.hash,
        audit_entries.c.signature,
    )
    .where(audit_entries.c.id > sa.bindparam("after"))
    .order_by(audit_entries.c.id)
    .limit(PAGE)
)


@short_write
def _start(connection: sa.Connection, now: datetime, request_id: str, operator: str) -> int:
    head = audit.lock_chain(connection, SIGNING)
    heads = {name: each for name, each in read_chain_heads(connection).items() if each.length}
    detail = Signing(heads).describe()
    entry = AuditEntry(SIGNING, "change", now, "startSigning", operator, "started", request_id, detail)
    audit.append(connection, SIGNING, head, [entry])
    return len(heads)


@short_read
def _find_signing(connection: sa.Connection, signers: Sequence[EntrySigner]) -> tuple[bool, Signing | None]:
    rows = connection.execute(_STATEMENTS).all()
    for _, hash_, signature, detail in rows:
        if is_signed(signers, SIGNING, hash_, signature):
            return True, parse_signing(json.loads(detail))
    return bool(rows), None


@long_read
def _verify(connection: sa.Connection, signers: Sequence[EntrySigner]) -> tuple[int, BrokenChain | None]:
    _, signing = _find_signing(connection, signers)
    if signing is None:
        return 0, BrokenChain(SIGNING, 1, "no entry with a right signature says that entries are signed")
    unlike = find_unlike_sealed(connection, {(name, head.length): head.hash for name, head in signing.chains.items()})
    if unlike is not None:
        return 0, unlike
    count = after = 0
    while rows := connection.execute(_SIGNATURES, {"after": after}).all():
        for after, chain, number, hash_, signature in rows:  # noqa: B007  # The next page begins after the last entry.
            if signing.needs_signature(chain, number):
                if not is_signed(signers, chain, hash_, signature):
                    reason = "it has no signature" if signature is None else "its signature is wrong"
                    return count, BrokenChain(chain, number, reason)
                count += 1
    return count, None
