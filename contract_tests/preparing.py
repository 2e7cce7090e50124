"""Prepare a target for the checks: determine the permissions, and set up the subscriptions that the checks need."""

import random
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import requests

from contract_tests.adapting import permanent_entry
from contract_tests.api import EVENT, FORM, Api
from contract_tests.reading import MALFORMED
from contract_tests.target import CheckTarget, SubscriptionIdentity

ORG_TYPES = range(100)
"""The orgTypes whose allowed subscriptions are queried, in addition to those of the current set."""

QUEUED_ORG_CODES = range(66_600, 66_700)
"""The orgCodes of the two permanent subscriptions of the checks."""

_MISSING = {requests.codes.not_found, requests.codes.method_not_allowed, requests.codes.not_implemented}
"""Statuses for an operation that does not exist. The operations in question have no 404 of their own."""
_REFUSALS = {*range(300, 500), requests.codes.not_implemented}
"""Statuses for a wrong address, certificate or system."""

_NO_ACCESS = {requests.codes.unauthorized, requests.codes.forbidden}

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


class CannotCheckError(Exception):
    """The target cannot be checked with these options. The text describes the remedy."""


class BrokenContractError(Exception):
    """An operation that all checks need violates the contract."""


def explore(target: CheckTarget, specs: Iterable[str]) -> tuple[CheckTarget, list[dict[str, Any]]]:
    """Return the target with all that was found out, and the current subscriptions of its system. Changes nothing.

    Raises CannotCheckError or BrokenContractError.
    """
    api = Api(target, random.Random(target.seed))  # These values are not secret.
    try:
        if "web-messages" in specs:
            api.target = _explore_messages(api)
        if "web-messages-3.2" in specs:
            api.target = _explore_municipal_messages(api)
        if "oep-integrator-1.5" in specs:
            api.target = _explore_case_messages(api)
        return _explore_subscriptions(api) if "subscriptions" in specs else (replace(api.target, system=None), [])
    except requests.JSONDecodeError as exc:
        raise BrokenContractError(f"a response is not JSON in UTF-8: {exc}: {exc.doc[:200]!r}") from exc
    except (requests.exceptions.ContentDecodingError, requests.exceptions.ChunkedEncodingError) as exc:
        raise BrokenContractError(f"an answer cannot be read: {_shorten(exc)}") from exc
    except (requests.RequestException, OSError) as exc:
        raise CannotCheckError(f"{target.url} cannot be reached: {_shorten(exc)}") from exc
    except (AssertionError, *MALFORMED) as exc:
        raise BrokenContractError(f"a response does not have the form of the contract: {exc}") from exc
    finally:
        api.close()


def set_up(target: CheckTarget) -> None:
    """Replace the subscriptions of the system by the two permanent ones, without queued deliveries.

    Raises BrokenContractError if the target rejects that.
    """
    if target.queued is None or target.attacked is None:
        return
    api = Api(target, random.Random(target.seed))  # These values are not secret.
    try:
        # Delete them first: deliveries that a previous suite has published would remain.
        api.sync([])
        response = api.sync([permanent_entry(target.queued), permanent_entry(target.attacked)])
    except (requests.RequestException, OSError, AssertionError, *MALFORMED) as exc:
        raise BrokenContractError(f"a sync got no answer: {exc}") from exc
    finally:
        api.close()
    if response.status_code != requests.codes.ok:
        raise BrokenContractError(f"system {target.system} cannot be given subscriptions: {_describe(response)}")


def _explore_messages(api: Api) -> CheckTarget:
    _check_message_access(api)
    return replace(
        api.target,
        accepts_keys=_accepts_keys(api),
        accepts_tokens=_accepts_tokens(api, api.get_message(UNKNOWN_ID, caller="anonymous")),
        token_reads=_token_gives_access(api, "GET", f"/webmessages/{UNKNOWN_ID}", granted=requests.codes.not_found),
    )


def _check_message_access(api: Api) -> None:
    if not api.target.sender:
        raise CannotCheckError("web messages need --api-key or --token; --spec subscriptions leaves them out")
    response = api.get_message(UNKNOWN_ID)
    _check_access("read", response, api.target)
    if response.is_redirect:
        raise CannotCheckError(f"{api.target.url} is elsewhere: it redirects to {response.headers['Location'][:300]}")
    if response.ok:
        # Otherwise every check would fail without a clear reason, for example because the URL is that of a web page.
        raise BrokenContractError(f"an unknown message must get a 404, but got {_describe(response)}")


def _explore_municipal_messages(api: Api) -> CheckTarget:
    if not api.target.sender:
        raise CannotCheckError("web messages need --api-key or --token")
    path = f"/{api.target.municipality}/webmessages"
    response = api.call("GET", f"{path}/{UNKNOWN_ID}")
    _check_access("read", response, api.target)
    _check_is_served(api, response)
    if response.ok or response.is_redirect:
        raise BrokenContractError(f"an unknown message must get a 404, but got {_describe(response)}")
    response = api.call("POST", path, body={}, headers={"Idempotency-Key": '"'})
    _check_access("write", response, api.target)
    return replace(api.target, accepts_keys="Idempotency-Key" in response.text, messages=path)


def _explore_case_messages(api: Api) -> CheckTarget:
    if not api.target.sender:
        raise CannotCheckError("web messages need --api-key or --token")
    response = api.call("GET", f"/{api.target.municipality}/EXTERNAL/webmessages/cases/1")
    _check_access("read", response, api.target)
    _check_is_served(api, response)
    if response.status_code != requests.codes.ok:
        raise CannotCheckError(f"the messages of a case cannot be read: {_describe(response)}")
    form = b'--XX\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}\r\n--XX--\r\n'
    path, key = f"/{api.target.municipality}/EXTERNAL/webmessages", {"Idempotency-Key": '"'}
    response = api.call("POST", path, body=form, content_type=FORM, headers=key)
    _check_access("write", response, api.target)
    return replace(api.target, accepts_keys="Idempotency-Key" in response.text, messages=None)


def _check_is_served(api: Api, response: requests.Response) -> None:
    if response.status_code == requests.codes.not_implemented:
        raise CannotCheckError(
            f"the server does not serve municipality {api.target.municipality}: choose another --municipality"
        )


def _check_access(verb: str, response: requests.Response, target: CheckTarget) -> None:
    if response.status_code in _NO_ACCESS:
        credential = "token" if target.api_key is None else "API key"
        raise CannotCheckError(f"the {credential} may not {verb} web messages: {_describe(response)}")


def _accepts_tokens(api: Api, asked: requests.Response) -> bool:
    """Return whether a response without credentials asks for a token, or the check has one, which must be accepted."""
    challenges = asked.headers.get("WWW-Authenticate", "")
    return api.target.token_file is not None or re.search(r"\bbearer\b", challenges, re.IGNORECASE) is not None


def _token_gives_access(api: Api, method: str, path: str, *, granted: int, body: object = None) -> bool:
    """Return whether a call with the token gets the status `granted`, an error that needs access but changes nothing.

    Raises CannotCheckError if the token is rejected.
    """
    if api.target.token_file is None:
        return False
    response = api.call(method, path, body=body, caller="token")
    if response.status_code == requests.codes.unauthorized:
        challenges = response.headers.get("WWW-Authenticate", "")[:300]
        raise CannotCheckError(f"the token is rejected: {challenges}, {_describe(response)}")
    return response.status_code == granted


def _accepts_keys(api: Api) -> bool:
    """Return whether the target validates `Idempotency-Key`. The body is invalid too, so nothing is created."""
    response = api.post_message({}, headers={"Idempotency-Key": '"'})
    _check_access("write", response, api.target)
    return response.status_code == requests.codes.bad_request and "Idempotency-Key" in response.text


def _explore_subscriptions(api: Api) -> tuple[CheckTarget, list[dict[str, Any]]]:
    target = api.target
    if target.certificate is None:
        raise CannotCheckError("subscriptions need --client-cert; --spec web-messages leaves them out")
    query = {"systemIdentifier": target.system}
    response = api.call("GET", "/v1/abonnement", query=query)
    if response.status_code not in {requests.codes.ok, *_REFUSALS}:
        raise BrokenContractError(f"the subscriptions of system {target.system} cannot be read: {_describe(response)}")
    if response.status_code in _MISSING:
        raise CannotCheckError(_describe_missing("GET /v1/abonnement", response))
    if response.status_code != requests.codes.ok:
        raise CannotCheckError(
            f"the certificate may not touch system {target.system} (--system names another): {_describe(response)}"
        )
    current: list[dict[str, Any]] = _read_list(response, "abonnementer")
    _check_no_messages_wait(api, query)
    allowed = target.allowed or _list_allowed_pairs(api, {*ORG_TYPES, *(entry["orgType"] for entry in current)})
    if not allowed:
        raise CannotCheckError("no orgType from 0 to 99 may subscribe to anything: allow one on the target")
    _check_set_can_be_restored(api, current, allowed)
    used_codes = {entry["orgCode"] for entry in current}
    free = iter(code for code in QUEUED_ORG_CODES if code not in used_codes)
    queued, attacked = (SubscriptionIdentity(allowed[0][0], next(free), allowed[0][1]) for _ in range(2))
    known = replace(
        target,
        allowed=allowed,
        publish_key=_find_publish_key(api),
        accepts_tokens=target.accepts_tokens or _accepts_tokens(api, api.publish({}, caller="anonymous")),
        token_publishes=_token_gives_access(api, "POST", EVENT, granted=requests.codes.bad_request, body={}),
    )
    return known.with_one_system(target.system or "", queued, attacked), current


def _check_no_messages_wait(api: Api, query: dict[str, Any]) -> None:
    response = api.call("GET", "/v1/abonnement/beskeder", query={**query, "limit": 1})
    if response.status_code == requests.codes.ok and response.json().get("beskeder"):
        raise CannotCheckError(
            f"messages wait for system {query['systemIdentifier']}, and would be lost with its subscriptions: "
            "name a system for tests with --system"
        )


def _check_set_can_be_restored(api: Api, current: list[dict[str, Any]], allowed: Collection[tuple[int, int]]) -> None:
    """Raise CannotCheckError if the current set could not be restored: a subscription has ended or is forbidden.

    The set is sent unchanged, so the dry run changes nothing even on a server that ignores `dryRun`.
    """
    response = api.sync(current, query={"dryRun": True})
    if response.status_code != requests.codes.ok:
        raise BrokenContractError(
            f"the current set of system {api.target.system} may be given again, but was answered {_describe(response)}"
        )
    today = _today()
    invalid = [
        entry
        for entry in current
        if (entry["orgType"], entry["entityType"]) not in allowed or (entry.get("slutDato") or today)[:10] < today
    ]
    if invalid:
        raise CannotCheckError(
            f"system {api.target.system} could not be given its subscriptions back, since some have ended or are no "
            f"longer allowed (--system names another): {invalid[0]}"
        )


def _today() -> str:
    return datetime.now(ZoneInfo("Europe/Copenhagen")).date().isoformat()


def _list_allowed_pairs(api: Api, org_types: Collection[int]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of orgType and entityType that may be subscribed to now."""
    today = _today()
    pairs = []
    missing: list[requests.Response] = []
    for org_type in sorted(org_types):
        response = api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": org_type})
        missing += [response] if response.status_code in _MISSING else []
        found = _read_list(response, "beskedtyper") if response.status_code == requests.codes.ok else []
        pairs += [(item["orgType"], item["entityType"]) for item in found if (item["slutDato"] or today) >= today]
    if len(missing) == len(set(org_types)):
        raise CannotCheckError(_describe_missing("GET /v1/beskedtype/tilladte", missing[0]))
    return tuple(pairs)


def _find_publish_key(api: Api) -> str | None:
    """Return the key for events, or None if it gives no access; the checks that need it are then skipped."""
    response = api.call("POST", "/v1/besked", body={})
    refused = {requests.codes.unauthorized, requests.codes.forbidden, requests.codes.not_found}
    return None if response.status_code in refused else api.target.publish_key


def _read_list(response: requests.Response, name: str) -> list[Any]:
    value = response.json()
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise BrokenContractError(
            f"a response does not have the form of the contract: no list of {name}, but {_describe(response)}"
        )
    return found


def _describe_missing(operation: str, response: requests.Response) -> str:
    return (
        f"the server has no {operation} ({_describe(response)}), and all checks of subscriptions need it; "
        "--spec web-messages leaves them out"
    )


def _describe(response: requests.Response) -> str:
    return f"{response.status_code} {' '.join(response.text[:300].split())}"


def _shorten(exc: Exception) -> str:
    return str(exc).split("Caused by ")[-1].strip("()'\"")[:300]
