"""What Schemathesis must be told of the contracts beyond the schemas; `schemathesis.toml` names this module."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import jsonschema_rs
import schemathesis

from domain.subscriptions import COPENHAGEN, read_time

FORM = "multipart/form-data"
ACCEPTED_BAD_DATA = "ST201"
MAX_FILES = 10
SYNC_PATH = "/v1/abonnement/sync"
EVENT_PATH = "/v1/besked"
LIST_PATH = "/v1/abonnement/beskeder"
REPLAY_PATH = "/v1/abonnement/beskeder/genfremsend"
TEST_PATH = "/v1/abonnement/testbesked"

SYSTEM = "550e8400-e29b-41d4-a716-446655440000"
"""The system that the caller may touch: that of the examples."""

QUEUED_SYSTEM = "1c2f4c1e-5798-41e9-ae24-57fa13b361e1"
"""A system for which messages wait; its subscriptions stay as they are."""
QUEUED_IDENTITY = {"orgType": 1, "orgCode": 101, "entityType": 202}
"""Of a subscription of it with a parked message, which may be sent again, and tried with test messages."""
QUEUED_DELIVERY = "2d3f4c1e-5798-41e9-ae24-57fa13b361e1"
"""The parked message."""

_ORG_TYPES = (0, 1, 2, 8, 2147483647)
_ENTITY_TYPES = (0, 1, 202, 203, 100008, 2147483647)
ALLOWED_PAIRS = tuple((org_type, entity_type) for org_type in _ORG_TYPES for entity_type in _ENTITY_TYPES)
"""What the service under attack lets be subscribed to."""

_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@schemathesis.hook
def before_call(context: Any, case: Any, **_: Any) -> None:
    """Puts the part `message` first: a schema gives the parts of a form no order; and fits what rules ask for."""
    if case.operation.path.startswith("/control/"):
        _fit_control(case)
    if case.operation.path.startswith("/v1/"):
        path = case.operation.path
        system = QUEUED_SYSTEM if path in {LIST_PATH, REPLAY_PATH, TEST_PATH} else SYSTEM
        _fit(case.query or {}, system)
        if isinstance(case.body, dict):
            _fit(case.body, system)
            _FIT_BODY.get(path, _leave)(case.body)
    if case.media_type == FORM and isinstance(case.body, dict) and "message" in case.body:
        # In place: a new body would be judged anew, and its files are no text that fits a schema.
        for name in [name for name in case.body if name != "message"]:
            case.body[name] = case.body.pop(name)


def _fit_control(case: Any) -> None:
    """Waits for nothing, and asks for days that exist; what is bad stays bad."""
    query = case.query or {}
    waits = case.operation.path in {"/control/expect", "/control/overview"}
    if waits and ("timeout" not in query or re.fullmatch("[0-9]+", str(query["timeout"]))):
        is_good = "timeout" not in query or int(query["timeout"]) <= _LONGEST_WAIT
        if is_good:
            case.query = {**query, "timeout": 0}
    added = case.body.get("added") if isinstance(case.body, dict) else None
    if isinstance(added, str):
        case.body["added"] = re.sub(r"^([0-9]{4}-[0-9]{2})-(29|30|31)T", r"\1-28T", added)


_LONGEST_WAIT = 300


def _fit(values: dict[str, Any], system_id: str) -> None:
    """Replaces what no schema can know: the caller's system, allowed types, dates that exist, one of each identity.

    Only values that fit the schema are replaced, by others that do: bad data stays bad.
    """
    system = values.get("systemIdentifier")
    if isinstance(system, str) and _UUID.fullmatch(system):
        values["systemIdentifier"] = system_id
    entries = values.get("abonnementer")
    seen: set[Any] = set()
    for entry in [entry for entry in (entries if isinstance(entries, list) else ()) if isinstance(entry, dict)]:
        for name, allowed in (("orgType", _ORG_TYPES), ("entityType", _ENTITY_TYPES)):
            value = entry.get(name)
            if type(value) is int and 0 <= value <= _MAX_INT and value not in allowed:
                entry[name] = allowed[value % len(allowed)]
        _fit_dates(entry)
        identity = repr([entry.get(name) for name in ("orgType", "orgCode", "entityType")])
        if identity in seen and all(type(entry.get(name)) is int for name in ("orgType", "orgCode", "entityType")):
            entries[:] = [other for other in entries if other is not entry]
        seen.add(identity)


def _leave(_: dict[str, Any]) -> None:
    pass


def _fit_event(event: dict[str, Any]) -> None:
    """A type that there is, an id that belongs to the content (so it may come again), no U+0000 in the body."""
    entity_type = event.get("entityType")
    if type(entity_type) is int and 0 <= entity_type <= _MAX_INT and entity_type not in _ENTITY_TYPES:
        event["entityType"] = _ENTITY_TYPES[entity_type % len(_ENTITY_TYPES)]
    if isinstance(event.get("body"), dict):
        event["body"] = _without_nul(event["body"])
    id_ = event.get("beskedId")
    if isinstance(id_, str) and _UUID.fullmatch(id_):
        rest = {name: value for name, value in event.items() if name != "beskedId"}
        event["beskedId"] = str(uuid5(NAMESPACE_OID, repr(sorted(rest.items(), key=repr))))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


def _fit_replay(replay: dict[str, Any]) -> None:
    """Asks for the message that is parked, or was."""
    ids = replay.get("leveringIds")
    if isinstance(ids, list) and ids and isinstance(ids[0], str) and _UUID.fullmatch(ids[0]):
        ids[0] = QUEUED_DELIVERY


def _fit_test(test: dict[str, Any]) -> None:
    """Tries the subscription that there is, and for some orgCodes one that there is not."""
    org_type, org_code, entity_type = (test.get(name) for name in QUEUED_IDENTITY)
    are_integers = type(org_type) is type(org_code) is type(entity_type) is int
    if not are_integers or not 0 <= org_type <= _MAX_INT or not 0 <= entity_type <= _MAX_INT:
        return
    if -1 < org_code <= _MAX_ORG_CODE:
        test.update(QUEUED_IDENTITY)


_FIT_BODY: dict[str, Callable[[dict[str, Any]], None]] = {
    EVENT_PATH: _fit_event,
    REPLAY_PATH: _fit_replay,
    TEST_PATH: _fit_test,
}

_MAX_INT = 2147483647
_MAX_ORG_CODE = 99_999_999
_TIME = re.compile(
    r"(19|2[0-9])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
)


def _fit_dates(entry: dict[str, Any]) -> None:
    for name, good in (("startDato", "2023-01-01T00:00:00"), ("slutDato", "2999-06-30T23:59:59")):
        text = entry.get(name)
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            continue
        moment = read_time(text)
        exists = moment is not None and 1900 <= moment.astimezone(COPENHAGEN).year <= 2999  # The contract's years.
        is_in_order = moment is not None and (moment < datetime.now(UTC)) == (name == "startDato")
        if not exists or not is_in_order:
            entry[name] = good


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drops what was meant to be bad and is good.

    Where there are files the tool does not check that; and a link puts an answer in the place of a bad body.
    """
    if failure.code != ACCEPTED_BAD_DATA:
        return True
    if case.operation.path in _LINKED:
        return not _is_good_of_link(case)
    return not (case.media_type == FORM and _is_good_form(case))


_LINKED = {SYNC_PATH: ("SyncRequest", {"dryRun"}), REPLAY_PATH: ("Replay", set[str]())}
"""Operations whose bodies links give: their schemas, and the parameters of their queries."""


def _is_good_of_link(case: Any) -> bool:
    schema, names = _LINKED[case.operation.path]
    is_good_query = all(
        name in names and str(value).lower() in {"true", "false"} for name, value in (case.query or {}).items()
    )
    return is_good_query and _fits(case, schema, case.body)


def _fits(case: Any, schema: str, value: Any) -> bool:
    components = case.operation.schema.raw_schema["components"]
    words = _without_nullable({"$ref": f"#/components/schemas/{schema}", "components": components})
    return bool(jsonschema_rs.Draft4Validator(words).is_valid(value))


def _is_good_form(case: Any) -> bool:
    files = case.body.get("attachments", [])
    if set(case.body) - {"message", "attachments"} or not isinstance(files, list) or len(files) > MAX_FILES:
        return False
    is_message = _fits(case, "CreateWebMessagePart", case.body.get("message"))
    # A file is a str with its bytes in `data`.
    return is_message and all(isinstance(file, str) and getattr(file, "data", file) for file in files)


def _without_nullable(schema: Any) -> Any:
    """The schema in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_without_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name: _without_nullable(value) for name, value in schema.items()}
    return words | {"type": [words["type"], "null"]} if words.get("nullable") is True else words
