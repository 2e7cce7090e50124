"""Create the clients of Open-E from settings, for the service and for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from budkavle.open_e_file import read_municipal_accounts
from domain.errors import BudkavleError
from domain.municipalities import ServedMunicipalities
from open_e.calls import OpenECalls
from open_e.case_reads import CaseReads
from open_e.client import OpenEClient
from open_e.messageapi import MessageApi
from open_e.read_backs import ReadBacks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from budkavle.settings import Settings
    from domain.tracing import Tracer
    from domain.web_messages import OpenEName
    from open_e.accounts import Account

CASE_READ_THREADS = 8
"""Concurrent reads for callers, each of at most `open_e.messageapi.MAX_RESPONSE_BYTES`."""

READ_BACK_SECONDS_LESS = 2
"""Seconds of a lease that remain for the database after a case was read back."""


def build_accounts(settings: Settings) -> dict[OpenEName, Account]:
    """Return the accounts of all Open-Es that are configured, also in the file. Raises `SettingsUnusable`."""
    shared = {str(name): account for name, account in settings.build_accounts().items()}
    return shared | _read_own_accounts(settings)


def build_municipalities(settings: Settings, accounts: Mapping[OpenEName, Account]) -> ServedMunicipalities:
    """Return the municipalities that the compatibility APIs serve, and which of them have accounts of their own."""
    own = frozenset(name.partition("/")[0] for name in accounts if "/" in name)
    return ServedMunicipalities(frozenset(settings.municipalities), own)


def _read_own_accounts(settings: Settings) -> dict[OpenEName, Account]:
    from budkavle.settings import PREFIX, SettingsUnusable

    if settings.open_e_municipalities is None:
        return {}
    try:
        return read_municipal_accounts(settings.open_e_municipalities, str(settings.open_e_ca or "") or None)
    except BudkavleError as exc:
        raise SettingsUnusable(f"unusable settings: {PREFIX}OPEN_E_MUNICIPALITIES: {exc}") from exc


def create_calls(
    settings: Settings,
    accounts: Mapping[OpenEName, Account],
    now: Callable[[], datetime],
    *,
    threads: int,
    tracer: Tracer | None = None,
) -> OpenECalls:
    """Return the calls that publish messages. Close them after use."""
    client = OpenEClient(
        accounts,
        connect_timeout=settings.open_e_connect_timeout,
        read_timeout=settings.open_e_read_timeout,
        threads=threads,
    )
    return OpenECalls(
        client,
        frozenset(accounts),
        threads=threads,
        queue_timeout=settings.open_e_queue_timeout,
        now=now,
        circuit_threshold=settings.open_e_pause_after,
        probe_seconds=settings.open_e_pause_seconds,
        tracer=tracer,
    )


def create_case_reads(settings: Settings, accounts: Mapping[OpenEName, Account]) -> CaseReads:
    """Return the reads of messages for callers. Close them after use."""
    timeout = settings.open_e_connect_timeout + settings.open_e_read_timeout
    api = MessageApi(accounts, timeout=timeout, threads=CASE_READ_THREADS)
    return CaseReads(api, threads=CASE_READ_THREADS, queue_timeout=settings.open_e_queue_timeout)


def create_read_backs(settings: Settings, accounts: Mapping[OpenEName, Account], *, concurrent_cases: int) -> ReadBacks:
    """Return the read-backs of this number of cases of each Open-E concurrently. Close them after use."""
    threads = max(len(accounts), 1) * concurrent_cases
    timeout = settings.settle_lease - READ_BACK_SECONDS_LESS
    return ReadBacks(MessageApi(accounts, timeout=timeout, threads=threads), threads=threads)
