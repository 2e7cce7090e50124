"""Find data that was stored or sent although the service must have rejected it."""

from typing import Any

from contract_tests.attacks import REFUSED_CASE, REFUSED_REFERENCE, request
from contract_tests.links import next_place
from contract_tests.target import API_KEY, CERTIFICATE, CheckTarget

JSONObject = dict[str, Any]


def list_messages(target: CheckTarget, key: str, value: str) -> list[JSONObject]:
    """Return the stored messages with a reference."""
    found: list[JSONObject] = _read(target, f"{target.messages}/external-references/{key}/{value}", is_system=False)
    return found


def list_subscriptions(target: CheckTarget, system: str) -> list[JSONObject]:
    """Return the stored subscriptions of a system."""
    found: list[JSONObject] = _read(target, f"/v1/abonnement?systemIdentifier={system}")["abonnementer"]
    return found


def find_stored_messages(target: CheckTarget) -> list[JSONObject]:
    """Return stored messages that must have been rejected, or those on the case if the contract has no others."""
    if target.messages is None:
        path = f"/{target.municipality}/EXTERNAL/webmessages/cases/{REFUSED_CASE['value']}"
        shown: list[JSONObject] = _read(target, path, is_system=False)
        return shown
    return [*list_messages(target, **REFUSED_REFERENCE), *list_messages(target, **REFUSED_CASE)]


def find_stored_subscriptions(target: CheckTarget) -> list[JSONObject]:
    """Return subscriptions of the attacked system other than the permanent ones."""
    permanent = [target.queued, target.attacked] if target.attacked_system == target.queued_system else []
    permanent_identities = [identity.json() for identity in permanent if identity is not None]
    return [
        entry
        for entry in list_subscriptions(target, target.attacked_system or "")
        if {name: entry[name] for name in ("orgType", "orgCode", "entityType")} not in permanent_identities
    ]


def find_queued_messages(target: CheckTarget) -> list[JSONObject]:
    """Return deliveries to the subscription that must get none, except an unchanged parked one."""
    assert target.attacked is not None
    path = f"/v1/abonnement/beskeder?systemIdentifier={target.queued_system}"
    found: list[JSONObject] = []
    while path:
        answer = target.send(request(target=path, headers=[f"Client-Cert: {CERTIFICATE}"], key=None))
        assert answer.status == 200
        found += [
            item
            for item in answer.json()["beskeder"]
            if item["orgCode"] == target.attacked.org_code
            and (item["leveringId"], item["status"]) != (target.attacked_delivery, "parkeret")
        ]
        path = target.below(next_place(answer.headers.get("link", ""), target.url + path) or "")
    return found


def find_unwanted_data(target: CheckTarget) -> list[JSONObject]:
    """Return all stored data that must have been rejected, as far as the target is known."""
    found = [] if target.api_key is None else find_stored_messages(target)
    if target.attacked_system is not None:
        found += find_stored_subscriptions(target)
    return found if target.queued_system is None else found + find_queued_messages(target)


def _read(target: CheckTarget, path: str, *, is_system: bool = True) -> Any:
    headers = [f"Client-Cert: {CERTIFICATE}"] if is_system else []
    answer = target.send(request(target=path, headers=headers, key=None if is_system else API_KEY))
    assert answer.status == 200, answer.body
    return answer.json()
