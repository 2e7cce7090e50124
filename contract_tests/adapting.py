"""Adapt generated data to facts that no schema contains: the caller's system, allowed types, existing dates.

Only values that conform to the schema are replaced, by others that conform: invalid data stays invalid.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeGuard
from uuid import NAMESPACE_OID, uuid5
from zoneinfo import ZoneInfo

from contract_tests.target import CheckTarget, SubscriptionIdentity

JSONObject = dict[str, Any]

SYNC, EVENT, LIST = "/v1/abonnement/sync", "/v1/besked", "/v1/abonnement/beskeder"
REPLAY, TEST = f"{LIST}/genfremsend", "/v1/abonnement/testbesked"
QUEUE_PATHS = {LIST, REPLAY, TEST}

_IDENTITY = ("orgType", "orgCode", "entityType")
_MAX_INT = 2147483647
_MAX_ORG_CODE = 99_999_999
_MAX_ENTRIES = 50_000
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(
    r"(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
)
_COPENHAGEN = ZoneInfo("Europe/Copenhagen")
_YEARS = range(1900, 3000)

_target = CheckTarget.from_environment() or CheckTarget("")


def set_target(target: CheckTarget) -> None:
    """Set the target that data are adapted to. A process that was started for a target uses it by default."""
    global _target  # noqa: PLW0603  # Hooks of the tool are functions that get nothing of ours.
    _target = target


def adapt_call(path: str, query: JSONObject, body: Any) -> None:
    """Adapt the values of a call of the subscriptions contract in place."""
    system = _target.queued_system if path in QUEUE_PATHS else _target.system
    _adapt_system(query, system)
    _adapt_range(query)
    if isinstance(body, dict):
        _adapt_system(body, system)
        _ADAPT_BODY.get(path, _keep_unchanged)(body)


def _keep_unchanged(_: JSONObject) -> None:
    pass


def _adapt_system(values: JSONObject, system: str | None) -> None:
    value = values.get("systemIdentifier")
    if isinstance(value, str) and _UUID.fullmatch(value) and system is not None:
        values["systemIdentifier"] = system


def _adapt_range(query: JSONObject) -> None:
    """Replace times that conform to the pattern and do not exist."""
    for name in ("fra", "til"):
        text = query.get(name)
        if isinstance(text, str) and _TIME.fullmatch(text) and _parse_moment(text) is None:
            query[name] = "2026-03-01T12:00:00"


def _adapt_sync(body: JSONObject) -> None:
    """Use allowed pairs and valid future dates, remove duplicate identities, and add the permanent subscriptions."""
    entries = body.get("abonnementer")
    if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
        return
    seen: set[str] = set()
    adapted = []
    for entry in entries:
        if isinstance(entry, dict):
            _adapt_pair(entry)
            _adapt_dates(entry)
            values = [entry.get(name) for name in _IDENTITY]
            if repr(values) in seen and all(type(value) is int for value in values):
                continue
            seen.add(repr(values))
        adapted.append(entry)
    if _target.system == _target.queued_system:
        permanent = [identity for identity in (_target.queued, _target.attacked) if identity is not None]
        adapted += [
            permanent_entry(identity) for identity in permanent if repr(list(identity.json().values())) not in seen
        ]
    entries[:] = adapted


def permanent_entry(identity: SubscriptionIdentity) -> JSONObject:
    """Return the entry of a subscription that exists while the checks run."""
    return {**identity.json(), "webhookUrl": "/webhook", "startDato": "2023-01-01T00:00:00"}


def _adapt_pair(entry: JSONObject) -> None:
    """Replace a pair that is not allowed with an allowed one."""
    org_type, entity_type = entry.get("orgType"), entry.get("entityType")
    if not _is_of_32_bits(org_type) or not _is_of_32_bits(entity_type) or not _target.allowed:
        return
    if (org_type, entity_type) not in _target.allowed:
        pair = _target.allowed[(org_type + entity_type) % len(_target.allowed)]
        entry["orgType"], entry["entityType"] = pair


def _adapt_dates(entry: JSONObject) -> None:
    for name, good in (("startDato", "2023-01-01T00:00:00"), ("slutDato", "2999-06-30T23:59:59")):
        text = entry.get(name)
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            continue
        moment = _parse_moment(text)
        is_known = moment is not None and moment.astimezone(_COPENHAGEN).year in _YEARS
        is_in_order = moment is not None and (moment < datetime.now(UTC)) == (name == "startDato")
        if not is_known or not is_in_order:
            entry[name] = good


def _parse_moment(text: str) -> datetime | None:
    """Return the moment, with local times in Copenhagen; None for a date or local time that does not exist."""
    try:
        read = datetime.fromisoformat(text)
        moment = read if read.tzinfo else read.replace(tzinfo=_COPENHAGEN)
        back = moment.astimezone(UTC).astimezone(moment.tzinfo)
    except (ValueError, OverflowError):
        return None
    return moment if back.replace(tzinfo=None) == moment.replace(tzinfo=None) else None


def _adapt_event(event: JSONObject) -> None:
    """Use an existing type, an id derived from the content (so that it may be repeated), and no U+0000 in the body."""
    known = sorted({entity_type for _, entity_type in _target.allowed})
    entity_type = event.get("entityType")
    if known and _is_of_32_bits(entity_type) and entity_type not in known:
        event["entityType"] = known[entity_type % len(known)]
    if isinstance(event.get("body"), dict):
        event["body"] = _remove_nul(event["body"])
    id_ = event.get("beskedId")
    if isinstance(id_, str) and _UUID.fullmatch(id_):
        rest = {name: value for name, value in event.items() if name != "beskedId"}
        event["beskedId"] = str(uuid5(NAMESPACE_OID, repr(sorted(rest.items(), key=repr))))


def _remove_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_remove_nul(item) for item in value]
    if isinstance(value, dict):
        return {_remove_nul(name): _remove_nul(item) for name, item in value.items()}
    return value


def _adapt_replay(replay: JSONObject) -> None:
    """Replay the delivery that is, or was, parked."""
    ids = replay.get("leveringIds")
    first = ids[0] if isinstance(ids, list) and ids else None
    if isinstance(ids, list) and isinstance(first, str) and _UUID.fullmatch(first) and _target.queued_delivery:
        ids[0] = _target.queued_delivery


def _adapt_test_message(test: JSONObject) -> None:
    """Test the subscription that exists."""
    org_type, org_code, entity_type = (test.get(name) for name in _IDENTITY)
    is_org_code = type(org_code) is int and -1 < org_code <= _MAX_ORG_CODE
    if _is_of_32_bits(org_type) and _is_of_32_bits(entity_type) and is_org_code and _target.queued is not None:
        test.update(_target.queued.json())


def _is_of_32_bits(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_INT


_ADAPT_BODY: dict[str, Callable[[JSONObject], None]] = {
    SYNC: _adapt_sync,
    EVENT: _adapt_event,
    REPLAY: _adapt_replay,
    TEST: _adapt_test_message,
}
