"""Recognise repeated requests by their `Idempotency-Key`, and delete expired keys (decision 0025)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from domain.errors import KeyInUse, KeyReused
from domain.idempotency_keys import IdempotencyKey, build_first_id, parse_key
from domain.retention import DataKind, Removal, RemovalRun, RetentionRule
from domain.web_messages import WebMessage
from handlers.requests import Request
from persistence import idempotency_keys as stored
from persistence import removal_counts
from persistence.database import Database
from persistence.repeated_work import FailureLog, run_repeatedly

HEADER = "Idempotency-Key"

REPLAYED = {"Idempotency-Replayed": "true"}
"""The header of an answer that was given before."""

LONG_TEXT = 256 * 1024
"""The fingerprints of longer messages are computed in a thread."""

PRUNE_SECONDS = 600

log = structlog.get_logger("budkavle.errors")


async def read_key(request: Request, message: WebMessage) -> IdempotencyKey | None:
    """Return the key of a valid request that creates `message`, None without one."""
    header = request.parameters.get(HEADER)
    if header is None:
        return None
    key = IdempotencyKey(request.caller.name, request.operation_id, parse_key(header), message)
    if len(message.message) > LONG_TEXT:
        await asyncio.to_thread(lambda: key.fingerprint)
    return key


async def find_first_message(request: Request, key: IdempotencyKey) -> str | None:
    """Return the id of the message that an earlier request with this key has created, None if the key is free.

    If the message is in doubt, it is looked for in Open-E before. Raises `KeyReused` if that request had other content,
    `KeyInUse` if its outcome is still not known.
    """
    services = request.services
    found = await stored.find(services.database, key)
    if found is None:
        return None
    first_id = build_first_id(services.now() - services.key_lifetime)
    if found.message_id < first_id and found.is_settled:
        await stored.free_expired(services.database, key, first_id)
        return None
    if found.fingerprint != key.fingerprint:
        raise KeyReused
    if not found.is_settled:
        await services.settler.settle(found.message_id)
        found = await stored.find(services.database, key)
    if found is None:
        return None
    if not found.is_settled:
        raise KeyInUse
    return found.message_id


class ExpiredKeys:
    """Deletes expired keys in the background, except those of messages in doubt."""

    def __init__(self, database: Database, *, lifetime: timedelta, now: Callable[[], datetime]) -> None:
        self._database = database
        self._lifetime = lifetime
        self._now = now

    async def run_once(self) -> int:
        """Delete all expired keys. Return their number. Raises `StorageFailed`."""
        now = self._now()
        first_id = build_first_id(now - self._lifetime)
        run, total = RemovalRun(now), 0
        removal = Removal(run, RetentionRule(DataKind.IDEMPOTENCY_KEYS, self._lifetime))
        async with removal_counts.recording(self._database, run):
            while number := await stored.prune_expired(self._database, first_id, removal):
                total += number
        return total

    async def run_forever(self) -> None:
        """Delete expired keys every `PRUNE_SECONDS`. Failures are logged."""
        failures = FailureLog(log, "idempotency_keys_not_pruned", "idempotency_keys_prune_failed")
        await run_repeatedly(self.run_once, failures, PRUNE_SECONDS)
