"""Derive the state to which the changes in the audit lead, and compare it with the stored one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.api_keys import ApiKey
from domain.catalogue import Catalogue, Item, list_parts
from domain.delivery_pauses import DeliveryPause
from domain.subscriptions import Identity, Subscription

CHANGED = "changed"
"""The outcome of a call that is followed by an entry with its changes."""


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """An entry of a chain that reports a change. Its `kind` is `change`, or `call` with the outcome `changed`."""

    number: int
    kind: str
    request_id: str
    detail: Mapping[str, Any]
    caller: str = ""


def describe_key(key: ApiKey) -> dict[str, Any]:
    """Return a key as the audit stores it."""
    return {
        "key": f"sha256:{key.key_hash}",
        "name": key.name,
        "scopes": list(key.scopes),
        "expires": None if key.expires is None else key.expires.isoformat(),
    }


def find_incomplete_calls(entries: Iterable[RecordedChange]) -> list[str]:
    """Return the calls that report a change without the entry that describes it, and such entries without a call.

    `entries` are those of one chain, in its order.
    """
    found = []
    call: RecordedChange | None = None
    for entry in entries:
        is_pair = call is not None and (call.number + 1, call.request_id) == (entry.number, entry.request_id)
        if entry.kind == "call" or not is_pair:
            found += [] if call is None else [f"entry {call.number} reports a change that no entry describes"]
            found += [] if entry.kind == "call" else [f"entry {entry.number} describes a change that no call reports"]
        call = entry if entry.kind == "call" else None
    return found + ([] if call is None else [f"entry {call.number} reports a change that no entry describes"])


def compare_catalogue(entries: Iterable[RecordedChange], stored: Catalogue) -> list[str]:
    """Return the differences between a catalogue and the changes in its chain."""
    parts = {item: _omit_absent(part) for item, part in _replay_catalogue(entries).items()}
    names = {item: _omit_absent(part) for item, part in list_parts(stored).items()}
    return _compare(parts, names, lambda item: " ".join(map(str, (item.section, *item.key))))


def compare_subscriptions(entries: Iterable[RecordedChange], stored: Mapping[Identity, Subscription]) -> list[str]:
    """Return the differences between the set of a system and the changes in its chain."""
    recorded = {identity: _read_subscription(row) for identity, row in _replay_subscriptions(entries).items()}
    return _compare(recorded, stored, lambda identity: f"subscription {'/'.join(map(str, identity))}")


def compare_keys(entries: Iterable[RecordedChange], stored: Iterable[ApiKey]) -> list[str]:
    """Return the differences between the API keys that are not revoked and the changes in their chain."""
    recorded = _replay_keys(entries)
    in_use = {f"sha256:{key.key_hash}": describe_key(key) for key in stored if key.revoked is None}
    return _compare(recorded, in_use, lambda name: f"API key {(in_use.get(name) or recorded[name])['name']!r}")


def summarise_catalogue(entries: Iterable[RecordedChange]) -> dict[str, Any]:
    """Return the detail of one change that leads to the same catalogue."""
    parts = _replay_catalogue(entries)
    return {"changes": [{"section": item.section, "key": list(item.key), "after": parts[item]} for item in parts]}


def summarise_subscriptions(entries: Iterable[RecordedChange]) -> dict[str, Any]:
    """Return the detail of one change that leads to the same set of a system."""
    return {"created": list(_replay_subscriptions(entries).values())}


def summarise_keys(entries: Iterable[RecordedChange]) -> dict[str, Any]:
    """Return the detail of one change that leads to the same API keys."""
    return {"created": list(_replay_keys(entries).values())}


def summarise_pauses(entries: Iterable[RecordedChange]) -> dict[str, Any]:
    """Return what `list_pause_changes` turns into changes that lead to the same pauses of a system."""
    pauses = _replay_pauses(entries)
    return {"pauses": [[identity, until, caller] for identity, (until, caller) in pauses.items()]} if pauses else {}


def list_pause_changes(summary: Mapping[str, Any]) -> list[RecordedChange]:
    """Return the changes in a summary."""
    return [
        RecordedChange(0, "call", "-", {"subscription": subscription, "until": until}, caller)
        for subscription, until, caller in summary.get("pauses", ())
    ]


def _replay_pauses(entries: Iterable[RecordedChange]) -> dict[Identity | None, tuple[str | None, str]]:
    pauses: dict[Identity | None, tuple[str | None, str]] = {}
    for entry in entries:
        subscription = entry.detail["subscription"]
        identity = None if subscription is None else Identity(*subscription)
        pauses.pop(identity, None)
        if "until" in entry.detail:
            pauses[identity] = entry.detail["until"], entry.caller
    return pauses


def _replay_catalogue(entries: Iterable[RecordedChange]) -> dict[Item, dict[str, Any]]:
    parts: dict[Item, dict[str, Any]] = {}
    for entry in entries:
        for change in entry.detail.get("changes", ()):
            item = Item(change["section"], tuple(change["key"]))
            if change["after"] is None:
                parts.pop(item, None)
            else:
                parts[item] = change["after"]
    return parts


def _replay_subscriptions(entries: Iterable[RecordedChange]) -> dict[Identity, list[Any]]:
    rows: dict[Identity, list[Any]] = {}
    for entry in entries:
        deleted, updated = entry.detail.get("deleted", ()), entry.detail.get("updated", ())
        for row in deleted:
            rows.pop(Identity(*row[:3]), None)
        for row in (*entry.detail.get("created", ()), *(after for _, after in updated)):
            rows[Identity(*row[:3])] = row
    return rows


def _replay_keys(entries: Iterable[RecordedChange]) -> dict[str, dict[str, Any]]:
    keys: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for key in entry.detail.get("created", ()):
            keys[key["key"]] = key
        for key in entry.detail.get("revoked", ()):
            keys.pop(key["key"], None)
    return keys


def compare_pauses(entries: Iterable[RecordedChange], stored: Iterable[DeliveryPause], now: datetime) -> list[str]:
    """Return the differences between the pauses of a system that are in force and the commands in its chain.

    A pause that ends by itself has no entry at its end, and may be stored for a while afterwards.
    """
    recorded = {
        identity: (None if until is None else datetime.fromisoformat(until), caller)
        for identity, (until, caller) in _replay_pauses(entries).items()
    }
    pauses = {each.identity: (each.until and _truncate(each.until), each.operator) for each in stored}
    recorded, pauses = (
        {identity: pause for identity, pause in each.items() if pause[0] is None or pause[0] > now}
        for each in (recorded, pauses)
    )
    return _compare(recorded, pauses, _describe_pause)


def _truncate(time: datetime) -> datetime:
    """Return the time with the precision of the audit."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _describe_pause(identity: Identity | None) -> str:
    return "the pause" if identity is None else f"the pause of subscription {'/'.join(map(str, identity))}"


def _compare(recorded: Mapping[Any, Any], stored: Mapping[Any, Any], describe: Any) -> list[str]:
    found = []
    # The key of the pause of a whole system is None.
    for key in sorted({*recorded, *stored}, key=lambda key: key or ()):
        if key not in recorded:
            found.append(f"{describe(key)} is not in the audit")
        elif key not in stored:
            found.append(f"{describe(key)} is in the audit, but is not stored")
        elif recorded[key] != stored[key]:
            found.append(f"{describe(key)} differs from the audit")
    return found


def _omit_absent(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part without absent values, which entries of older versions lack."""
    return {name: value for name, value in part.items() if value not in (None, False, [], {})}


def _read_subscription(row: list[Any]) -> Subscription:
    org_type, org_code, entity_type, webhook_url, start, end = row
    end_time = None if end is None else datetime.fromisoformat(end)
    identity = Identity(org_type, org_code, entity_type)
    return Subscription(identity, webhook_url, datetime.fromisoformat(start), end_time)
