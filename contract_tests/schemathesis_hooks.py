"""Hooks of Schemathesis with facts about the contracts beyond the schemas; `schemathesis.toml` names this module."""

import gc
import os
import re
import sys
from typing import Any

import jsonschema_rs
import schemathesis
from schemathesis.core.jsonschema import patterns
from schemathesis.core.parameters import ParameterLocation

from contract_tests import evidence
from contract_tests.adapting import REPLAY, SYNC, adapt_call
from contract_tests.suites import WITH_TOKEN
from contract_tests.target import CheckTarget
from contract_tests.tokens import is_bound

FORM = "multipart/form-data"
ACCEPTED_BAD_DATA, NOT_ALLOWED = "ST201", "ST204"
MAX_FILES = 10

_LONGEST_WAIT = 300
_OF_THE_CONNECTION = {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}

_KEY = re.compile(r'[ \t]*([!#-+\--:<-\[\]-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")[ \t]*')
"""The pattern of a valid `Idempotency-Key`, as in spec/web-messages.yaml."""

_TIME_ZONE = re.compile("[A-Za-z0-9_+/-]{1,64}")
"""The pattern of time zones in spec/mock-open-e.yaml."""

_USES_TOKEN = os.environ.get(WITH_TOKEN) == "yes"

_KEY_PARAMETER = {"$ref": "#/components/parameters/IdempotencyKey"}

evidence.end_after_next_response()
if evidence.RUN_RECORD in os.environ:
    # Hypothesis uses constants of modules that it considers part of the project, which ours are unless installed. The
    # test cases would change with our sources and differ in a wheel.
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "contract_tests":
            module.__file__ = None
    # Generated data leave few cycles, and looking for them among the objects of all tools takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# Schemathesis tries to put the maximum length of a text into its pattern. For that it compiles up to 150 MB, more than
# a second for each text of a million characters, and then keeps pattern and length apart, as with this limit.
_SIZE = jsonschema_rs.FancyRegexOptions(size_limit=10_000_000)
patterns.FANCY_REGEX_OPTIONS = _SIZE  # type: ignore[attr-defined]  # It is imported there.


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Remove the maximum length of webhook paths: generating text of that length for the pattern takes over a minute.

    The rules test both limits. Also remove parameters that the target does not have.
    """
    raw_schema["components"]["schemas"].get("WebhookPath", {}).pop("maxLength", None)
    target = CheckTarget.from_environment()
    if target is not None and not target.accepts_keys:
        for path in ("/webmessages", "/{municipalityId}/webmessages", "/{municipalityId}/{instanceType}/webmessages"):
            for operation in raw_schema["paths"].get(path, {}).values():
                operation["parameters"] = [each for each in operation["parameters"] if each != _KEY_PARAMETER]
    municipalities = raw_schema["components"]["schemas"].get("MunicipalityId")
    if municipalities is not None:
        # Otherwise each of the 311 values would be a case of each operation, and the target may serve one only.
        municipalities["enum"] = [CheckTarget.municipality if target is None else target.municipality]
    _keep_used_security(raw_schema, target)


def _keep_used_security(schema: dict[str, Any], target: CheckTarget | None) -> None:
    """Keep the alternative of each operation's security that the check uses, since generated credentials are invalid.

    Over TLS each request presents a certificate, so no alternative with one remains. The rules test the others.
    """
    schemes = schema["components"].get("securitySchemes", {})
    tokens = {name for name, scheme in schemes.items() if scheme.get("scheme") == "bearer"}
    keys = {name for name, scheme in schemes.items() if scheme.get("name") == "apikey"}
    certificates = {name for name, scheme in schemes.items() if scheme.get("name") == "Client-Cert"}
    unused = (keys if _USES_TOKEN else tokens) | (certificates if target is not None and target.is_tls else set())
    default = schema.get("security", [])
    for operation in (item for path in schema["paths"].values() for item in path.values() if isinstance(item, dict)):
        # A certificate needs no token.
        operation["security"] = [
            item
            for item in operation.get("security", default)
            if not unused & set(item) and not (tokens & set(item) and certificates & set(item))
        ]


class _Token:
    """Adds the current token to the requests of operations that accept one."""

    def get(self, case: Any, _context: Any) -> str | None:
        schemes = case.operation.schema.raw_schema["components"]["securitySchemes"]
        used = [schemes[name] for item in case.operation.definition.raw["security"] for name in item]
        target = CheckTarget.from_environment()
        return target.token if target is not None and any(each.get("scheme") == "bearer" for each in used) else None

    def set(self, case: Any, data: str, _context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"
        target = CheckTarget.from_environment()
        if target is not None and target.certificate is not None and not target.is_tls and is_bound(data):
            case.headers["Client-Cert"] = target.certificate.header


if _USES_TOKEN:
    schemathesis.auth(refresh_interval=None)(_Token)


@schemathesis.hook
def before_call(context: Any, case: Any, **_: Any) -> None:
    """Move the part `message` to the front, because a schema cannot order the parts; adapt data to the rules."""
    for name in [name for name in case.headers or () if name.lower() in _OF_THE_CONNECTION]:
        # Framing is tested by the suite of raw bytes.
        del case.headers[name]
    if _USES_TOKEN:
        _replace_old_token(case)
    if case.operation.path.endswith("/webmessages"):
        _remove_used_key(case)
    if "{instanceType}" in case.operation.path and isinstance(case.body, dict):
        _adapt_case_message(case.body.get("request"))
    if case.operation.path.startswith("/control/"):
        _adapt_control(case)
    if case.operation.path.startswith("/v1/"):
        adapt_call(case.operation.path, case.query or {}, case.body)
    if case.media_type == FORM and isinstance(case.body, dict) and "message" in case.body:
        # Reorder in place: a new body would be validated again, and its files do not conform to a text schema.
        for name in [name for name in case.body if name != "message"]:
            case.body[name] = case.body.pop(name)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Record the call and the resource that it created."""
    location = response.headers.get("location", [None])[0]
    evidence.record_response(response.status_code, location)
    evidence.append_to_run_record("did", case.operation.label)


def _replace_old_token(case: Any) -> None:
    """Use the current token: Schemathesis adds it when it generates a case, and may send the case much later."""
    target = CheckTarget.from_environment()
    if target is None:
        return
    *old, current = [f"Bearer {token}" for token in target.tokens]
    if case.headers is not None and case.headers.get("Authorization") in old:
        case.headers["Authorization"] = current


def _remove_used_key(case: Any) -> None:
    """Remove a valid `Idempotency-Key`: data repeat the same few keys with other content. The rules test keys.

    Leave negative data as they are: after a change, Schemathesis adds credentials that the data are meant to lack.
    """
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key" and _KEY.fullmatch(str(value)):
            del case.headers[name]


def _adapt_case_message(request: Any) -> None:
    """Add a case and keep one sender that is not a party, in place. Invalid values stay invalid."""
    if not isinstance(request, dict):
        return
    references = request.get("externalReferences")
    if isinstance(references, list) and references:
        references.append({"key": "flowInstanceId", "value": "1068"})
    sender = request.get("sender")
    given = [name for name in ("userId", "administratorId", "partyId") if isinstance(sender, dict) and sender.get(name)]
    for name in [*given[1:], *({"partyId"} & set(given[:1]))]:
        if isinstance(sender, dict) and isinstance(sender[name], str):
            sender[name] = None


def _adapt_control(case: Any) -> None:
    """Set timeouts to zero and use existing dates and time zones. Invalid values stay invalid."""
    query = case.query or {}
    waits = case.operation.path in {"/control/expect", "/control/overview"}
    if waits and ("timeout" not in query or re.fullmatch("[0-9]+", str(query["timeout"]))):
        is_good = "timeout" not in query or int(query["timeout"]) <= _LONGEST_WAIT
        if is_good:
            case.query = {**query, "timeout": 0}
    added = case.body.get("added") if isinstance(case.body, dict) else None
    if isinstance(added, str):
        case.body["added"] = re.sub(r"^([0-9]{4}-[0-9]{2})-(29|30|31)T", r"\1-28T", added)
    zone = case.body.get("timeZone") if isinstance(case.body, dict) else None
    if isinstance(zone, str) and _TIME_ZONE.fullmatch(zone):
        case.body["timeZone"] = "Europe/Stockholm"


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Ignore failures that gateways cause, and data that was meant to be invalid but is valid.

    Schemathesis does not check that for files, and a link replaces an invalid body by a valid one.
    """
    if failure.code == NOT_ALLOWED and response.status_code == 405:
        # Gateways reject TRACE themselves and do not list the allowed methods.
        return bool(case.method.upper() != "TRACE")
    if failure.code != ACCEPTED_BAD_DATA:
        return True
    if case.operation.path in _LINKED:
        return not _is_valid_for_link(case)
    if case.operation.path.startswith("/{municipalityId}/") and case.method.upper() == "GET":
        return not _has_only_unknown_names(case)
    return not (case.media_type == FORM and _is_valid_form(case))


def _has_only_unknown_names(case: Any) -> bool:
    """Return whether only names in the query are wrong: the compatibility APIs ignore unknown parameters."""
    path = case.meta.components.get(ParameterLocation.PATH) if case.meta else None
    query = case.query or {}
    known = [parameter for parameter in case.operation.query if parameter.name in query]
    return (path is None or path.mode.is_positive) and all(each.is_valid(query[each.name]) for each in known)


_LINKED = {SYNC: ("SyncRequest", {"dryRun"}), REPLAY: ("Replay", set[str]())}
"""Operations whose bodies links replace: their schemas, and the parameters of their queries."""


def _is_valid_for_link(case: Any) -> bool:
    schema, names = _LINKED[case.operation.path]
    is_good_query = all(
        name in names and str(value).lower() in {"true", "false"} for name, value in (case.query or {}).items()
    )
    return is_good_query and _conforms(case, schema, case.body)


def _conforms(case: Any, schema: str, value: Any) -> bool:
    components = case.operation.schema.raw_schema["components"]
    words = _without_nullable({"$ref": f"#/components/schemas/{schema}", "components": components})
    return bool(jsonschema_rs.Draft4Validator(words).is_valid(value))


def _is_valid_form(case: Any) -> bool:
    files = case.body.get("attachments", [])
    is_strict = case.operation.path == "/webmessages"
    part, schema = ("message", "CreateWebMessagePart") if is_strict else ("request", "WebmessageRequest")
    others = set(case.body) - {part, "attachments"} if is_strict else set()
    if others or not isinstance(files, list) or len(files) > MAX_FILES:
        return False
    is_message = _conforms(case, schema, case.body.get(part))
    # A file is a str with its bytes in `data`.
    return is_message and all(isinstance(file, str) and getattr(file, "data", file) for file in files)


def _without_nullable(schema: Any) -> Any:
    """Return the schema as JSON Schema, which has no `nullable`."""
    if isinstance(schema, list):
        return [_without_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name: _without_nullable(value) for name, value in schema.items()}
    return words | {"type": [words["type"], "null"]} if words.get("nullable") is True else words
