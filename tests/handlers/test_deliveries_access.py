"""Access to the list and the replay of deliveries, and their audit entries."""

import json
from typing import Any

from tests.catalogue_rows import read_audit
from tests.handlers.callers import Caller, create_caller, list_places, read_errors
from tests.handlers.messages import create_id
from tests.handlers.waiting_deliveries import (
    LIST,
    REPLAY,
    TEST,
    UNKNOWN_DELIVERY,
    build_test_message,
    get,
    list_deliveries,
    post,
    replay,
    subscribe,
)
from tests.test_guards import SPECS


def build_requests(system_id: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Return a request of each operation that breaks its contract in addition to naming this system."""
    named = {"systemIdentifier": system_id}
    return [
        ("GET", f"{LIST}?systemIdentifier={system_id}&limit=0", None),
        ("GET", f"{LIST}?systemIdentifier={system_id}", None),
        ("POST", REPLAY, named | {"leveringIds": [UNKNOWN_DELIVERY]}),
        ("POST", REPLAY, named),
        ("POST", TEST, named | {"orgType": 1, "orgCode": 101, "entityType": 202}),
        ("POST", TEST, named),
    ]


def test_foreign_and_unknown_systems_get_the_same_response(caller: Caller) -> None:
    other = create_caller(caller.service)
    subscribe(other)
    responses = []
    for system_id in (other.system_id, other.system_id.upper(), create_id()):
        for method, path, body in build_requests(system_id):
            response = caller.service.client.request(method, path, json=body, headers=caller.headers())
            (error,) = read_errors(response, 403)
            assert error["errorCode"] == 1013
            responses.append(response.content)
    assert len(set(responses)) == 1
    assert list_deliveries(other) == []


def test_checks_run_in_order(caller: Caller) -> None:
    """401, then 413 and 415, then 403, then 400."""
    send = caller.service.client.request
    for method, path, _ in build_requests(caller.system_id):
        response = send(method, path, content=b"{" if method == "POST" else None)
        assert read_errors(response, 401)[0]["errorCode"] == 1101
        assert response.headers["www-authenticate"] == 'ClientCertificate realm="budkavle"'
    for path in (REPLAY, TEST):
        body = json.dumps({"systemIdentifier": create_id()}).encode()
        response = send("POST", path, content=body, headers=caller.headers(content_type="text/plain"))
        assert read_errors(response, 415)[0]["errorCode"] == 1014
        limit: int = SPECS["subscriptions"]["paths"][path]["post"]["requestBody"]["x-max-bytes"]
        response = send("POST", path, content=body + b" " * limit, headers=caller.headers())
        assert read_errors(response, 413)[0]["errorCode"] == 1014
        assert list_places(send("POST", path, content=b"{", headers=caller.headers())) == [(None, None, 1014)]


def test_each_call_is_audited(caller: Caller) -> None:
    subscribe(caller)
    calls = {
        "hentBeskeder": lambda id_: get(caller, x_requestId=id_),
        "genfremsendBeskeder": lambda id_: post(
            caller, REPLAY, {"systemIdentifier": caller.system_id, "leveringIds": [UNKNOWN_DELIVERY]}, x_requestId=id_
        ),
        "sendTestbesked": lambda id_: post(caller, TEST, build_test_message(caller), x_requestId=id_),
    }
    for operation, call in calls.items():
        request_id = f"audited-{create_id()}"
        assert call(request_id).status_code in {200, 202}
        (recorded,) = read_audit(caller.database_url, request_id)
        assert (recorded.operation, recorded.chain, recorded.outcome) == (operation, caller.system_id, "answered")
    request_id, [item] = f"audited-{create_id()}", list_deliveries(caller)
    assert replay(caller, item["leveringId"], UNKNOWN_DELIVERY, x_requestId=request_id)["genfremsendt"] == 1
    (recorded,) = read_audit(caller.database_url, request_id)
    assert (recorded.operation, recorded.chain, recorded.outcome, recorded.detail) == (
        *("genfremsendBeskeder", caller.system_id, "changed"),
        {"deliveries": 1},
    )
    request_id = f"audited-{create_id()}"
    assert post(caller, TEST, build_test_message(caller, orgCode=7), x_requestId=request_id).status_code == 404
    (recorded,) = read_audit(caller.database_url, request_id)
    assert (recorded.outcome, recorded.detail) == ("refused", {"status": 404, "errors": 1})
