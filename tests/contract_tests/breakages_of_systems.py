"""Servers that break the contract of the subscriptions, each once not detected: sets, types and deliveries."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract_tests.breakages import SYNC, Case
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

JSONObject = dict[str, Any]

CURRENT, LIST = "/v1/abonnement", "/v1/abonnement/beskeder"
REPLAY, TEST = f"{LIST}/genfremsend", "/v1/abonnement/testbesked"
IDENTITY = ("orgType", "orgCode", "entityType")
KNOWN = {*IDENTITY, "webhookUrl", "startDato", "slutDato"}


def read_wanted(request: Request) -> list[Any] | None:
    """Return the entries of a sync that is not a dry run, otherwise None."""
    body = request.json() if request.path == SYNC and request.query in {b"", b"dryRun=false"} else None
    entries = body.get("abonnementer") if isinstance(body, dict) else None
    return entries if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) else None


def with_entries(request: Request, entries: list[Any]) -> Request:
    return request.with_json({**request.json(), "abonnementer": entries})


def build_identity(entry: JSONObject) -> str:
    return str([entry.get(name) for name in IDENTITY])


async def fetch_current(request: Request, forward: Forward) -> list[JSONObject]:
    """Return the current set of the system of a request."""
    return list((await read(request, forward, CURRENT)).get("abonnementer", []))


async def read(request: Request, forward: Forward, path: str) -> JSONObject:
    query = b"systemIdentifier=" + str(request.json().get("systemIdentifier")).encode()
    query_request = replace(request.with_path(path.encode()), method="GET", query=query, body=b"")
    found: JSONObject = (await forward(query_request.without("content-type").without("content-length"))).json()
    return found


def with_errors(path: str, change: Callable[[list[JSONObject], Request], list[JSONObject]]) -> Breakage:
    """Change the errors of an invalid request."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if request.path != path or response.status != 400:
            return response
        return response.with_json({"errors": change(response.json()["errors"], request)})

    return breakage


def a_thousand_at_most(errors: list[JSONObject], _: Request) -> list[JSONObject]:
    return errors[:1000]


def integers_of_32_bits(errors: list[JSONObject], _: Request) -> list[JSONObject]:
    def drop_large(value: Any) -> Any:
        return value if value is None or -(2**31) <= value < 2**31 else None

    return [{**error, **{name.lower(): drop_large(error[name.lower()]) for name in IDENTITY}} for error in errors]


def one_unknown_property(errors: list[JSONObject], _: Request) -> list[JSONObject]:
    """Report one unknown property per entry, as a validator that stops at the first."""
    remaining: list[JSONObject] = []
    for error in errors:
        is_unknown = error["index"] is not None and error["field"] not in {*KNOWN, None}
        last = remaining[-1] if remaining else error
        if not is_unknown or last["index"] != error["index"] or last["field"] in KNOWN or last is error:
            remaining.append(error)
    return remaining


def system_checked_before_entries(errors: list[JSONObject], _: Request) -> list[JSONObject]:
    is_of_system = any(error["field"] == "systemIdentifier" for error in errors)
    return [error for error in errors if error["index"] is None] if is_of_system else errors


def identity_without_org_type(errors: list[JSONObject], request: Request) -> list[JSONObject]:
    entries, seen = read_wanted(request) or [], set()
    for index, entry in enumerate(entries):
        key = str([entry.get("orgCode"), entry.get("entityType")])
        are_numbers = all(isinstance(entry.get(name), int) for name in IDENTITY)
        is_told = any((error["index"], error["errorCode"]) == (index, 150103) for error in errors)
        if are_numbers and key in seen and not is_told:
            named = {name.lower(): entry[name] for name in IDENTITY}
            errors = [*errors, {**named, "errorCode": 150103, "message": "x", "index": index, "field": "entityType"}]
        seen.add(key)
    return sorted(errors, key=lambda e: (-1 if e["index"] is None else e["index"], e["field"] or "", e["errorCode"]))


async def dry_run_drops_messages(request: Request, forward: Forward) -> ServerResponse:
    """Apply the sync in a dry run, and then restore the old set."""
    if request.path != SYNC or request.query != b"dryRun=true":
        return await forward(request)
    response = await forward(request)
    if response.status == 200:
        before = await fetch_current(request, forward)
        await forward(replace(request, query=b""))
        await forward(with_entries(replace(request, query=b""), before))
    return response


async def messages_are_not_counted(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    is_done = request.path == SYNC and response.status == 200 and b"true" not in request.query
    return response.with_json({**response.json(), "slettedeBeskeder": 0}) if is_done else response


async def updates_recreated(request: Request, forward: Forward) -> ServerResponse:
    """Delete and insert changed subscriptions, which drops their deliveries."""
    entries = read_wanted(request)
    preview = await forward(replace(request, query=b"dryRun=true")) if entries is not None else None
    if entries is None or preview is None or preview.status != 200 or not preview.json()["opdateret"]:
        return await forward(request)
    before = {build_identity(entry): entry for entry in await fetch_current(request, forward)}
    same = [
        before[build_identity(e)]
        for e in entries
        if before.get(build_identity(e), {}).get("webhookUrl") == e["webhookUrl"]
    ]
    await forward(with_entries(request, same))
    await forward(request)
    return preview


async def all_subscriptions_recreated(request: Request, forward: Forward) -> ServerResponse:
    """Delete the whole set first; only concurrent readers and waiting deliveries reveal it."""
    preview = await forward(replace(request, query=b"dryRun=true")) if read_wanted(request) is not None else None
    if preview is None or preview.status != 200:
        return await forward(request)
    await forward(with_entries(request, []))
    await forward(request)
    return preview


async def removals_applied_first(request: Request, forward: Forward) -> ServerResponse:
    """Remove subscriptions in a separate transaction, so that concurrent readers see a part of the set."""
    entries = read_wanted(request)
    preview = await forward(replace(request, query=b"dryRun=true")) if entries is not None else None
    if entries is None or preview is None or preview.status != 200:
        return await forward(request)
    wanted = {build_identity(entry) for entry in entries}
    await forward(
        with_entries(request, [e for e in await fetch_current(request, forward) if build_identity(e) in wanted])
    )
    await forward(request)
    return preview


def compared_loosely(name: str, key: Callable[[str], str]) -> Breakage:
    """Keep the stored text if it compares equal to the new one."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        entries = read_wanted(request)
        if not entries:
            return await forward(request)
        before = {build_identity(entry): entry[name] for entry in await fetch_current(request, forward)}

        def keep_stored(entry: JSONObject) -> JSONObject:
            old, new = before.get(build_identity(entry)), entry.get(name)
            are_same = isinstance(old, str) and isinstance(new, str) and key(old) == key(new)
            return {**entry, name: old} if are_same else entry

        changed = [keep_stored(entry) for entry in entries]
        return await forward(request if changed == entries else with_entries(request, changed))

    return breakage


async def ended_types_accept_subscriptions(request: Request, forward: Forward) -> ServerResponse:
    entries = read_wanted(request)
    if entries is None or not any(entry.get("entityType") == 204 for entry in entries):
        return await forward(request)
    return await forward(with_entries(request, [{**e, "entityType": 202} for e in entries]))


async def media_type_without_parameters(request: Request, forward: Forward) -> ServerResponse:
    is_other = request.path == SYNC and ";" in (request.header("content-type") or "")
    return await forward(request.with_header("content-type", "text/plain") if is_other else request)


async def first_repeated_dry_run_used(request: Request, forward: Forward) -> ServerResponse:
    items = request.query.split(b"&")
    is_twice = request.path == SYNC and len([item for item in items if item.startswith(b"dryRun=")]) == len(items) == 2
    return await forward(replace(request, query=items[0]) if is_twice else request)


def unknown_parameters_accepted(path: str) -> Breakage:
    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        return await forward(replace(request, query=b"") if request.path == path else request)

    return breakage


OF_SYSTEMS = {
    "a thousand errors at most": Case(
        with_errors(SYNC, a_thousand_at_most),
        "subscriptions",
        "test_subscription_faults.py::test_every_error_of_many_entries_is_reported",
        "every error of many entries is reported",
    ),
    "errors name integers of 32 bits": Case(
        with_errors(SYNC, integers_of_32_bits),
        "subscriptions",
        "test_subscription_faults.py::test_error_contains_only_64_bit_integers",
        "expected 2147483648",
    ),
    "only one unknown property is reported": Case(
        with_errors(SYNC, one_unknown_property),
        "subscriptions",
        "test_subscription_faults.py::test_ten_unknown_properties_of_an_entry_are_reported",
        "ten unknown properties of an entry are reported",
    ),
    "the system is checked before the entries": Case(
        with_errors(SYNC, system_checked_before_entries),
        "subscriptions",
        "test_subscription_faults.py::test_errors_of_entries_are_reported_for_any_system",
        "errors of entries are reported for any system",
    ),
    "an identity without orgType": Case(
        with_errors(SYNC, identity_without_org_type),
        "subscriptions",
        "test_subscription_all_or_nothing.py::test_each_part_of_the_identity_distinguishes_entries",
        "each part of the identity distinguishes entries",
    ),
    "a dry run drops messages": Case(
        dry_run_drops_messages,
        "subscriptions",
        "test_delivery_survival.py::test_dry_run_keeps_deliveries",
        "a dry run must keep",
    ),
    "dropped messages are not counted": Case(
        messages_are_not_counted,
        "subscriptions",
        "test_delivery_survival.py::test_removed_deliveries_are_counted",
        "must be the number of messages",
    ),
    "updated subscriptions are recreated": Case(
        updates_recreated,
        "subscriptions",
        "test_delivery_survival.py::test_sync_keeps_deliveries_of_updated_subscriptions",
        "must keep the messages of the subscription",
    ),
    "all subscriptions are recreated": Case(
        all_subscriptions_recreated,
        "subscriptions",
        "test_delivery_survival.py::test_sync_keeps_deliveries_of_unchanged_subscriptions",
        "must keep the messages of unchanged subscriptions",
    ),
    "removals are applied first": Case(
        removals_applied_first,
        "subscriptions",
        "test_subscription_together.py::test_concurrent_read_returns_the_old_or_the_new_set",
        "a reader got an incomplete set",
    ),
    "paths are compared without case": Case(
        compared_loosely("webhookUrl", str.lower),
        "subscriptions",
        "test_subscription_sync.py::test_same_identity_is_updated_in_place",
        "expected one update",
    ),
    "fractions are truncated": Case(
        compared_loosely("startDato", lambda text: text[:19]),
        "subscriptions",
        "test_subscription_sync.py::test_same_identity_is_updated_in_place",
        "expected one update",
    ),
    "ended types accept subscriptions": Case(
        ended_types_accept_subscriptions,
        "subscriptions",
        "test_subscription_types.py::test_ended_type_allows_no_new_subscription",
        "ended type allows no new subscription",
    ),
    "a charset is refused": Case(
        media_type_without_parameters,
        "subscriptions",
        "test_subscription_access.py::test_json_is_accepted_with_any_spelling_of_its_media_type",
        "any spelling of its media type",
    ),
    "the first of repeated dryRun is used": Case(
        first_repeated_dry_run_used,
        "subscriptions",
        "test_subscription_all_or_nothing.py::test_sync_with_an_unknown_property_or_parameter_changes_nothing",
        "expected 400, but was 200",
    ),
    "unknown parameters of replays are accepted": Case(
        unknown_parameters_accepted(REPLAY),
        "subscriptions",
        "test_delivery_replays.py::test_unknown_parameter_is_refused",
        "unknown parameter is refused",
    ),
    "unknown parameters of test messages are accepted": Case(
        unknown_parameters_accepted(TEST),
        "subscriptions",
        "test_delivery_replays.py::test_unknown_parameter_is_refused",
        "unknown parameter is refused",
    ),
}
