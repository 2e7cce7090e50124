"""Requests get the same responses, whether or not the parts of an operation are linked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService, running_service
from tests.catalogue_rows import put_message_types
from tests.factories import build_message_body

SPEC = Path(__file__).parents[2] / "spec"
CONTRACTS = ("operations", "web-messages", "subscriptions")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ID = "81471222-5798-11e9-ae24-57fa13b361e1"
VALUES = {
    "id": (ID, "no-id", "%2F", "%00", "{id}"),
    "attachmentId": (ID,),
    "partyId": (ID, "no-id"),
    "key": ("a", "abc", "å%2F"),
    "value": ("def",),
}
KEYS: tuple[dict[str, str], ...] = ({}, {"apikey": MESSAGES_KEY}, {"apikey": PUBLISH_KEY}, {"apikey": "wrong-key-123"})
BODIES = (b"", b"{}", b"[", b"\xff", b'{"a":' + b"[" * 60, json.dumps(build_message_body()).encode())
QUERIES = ("", "?limit=0", "?limit=1&limit=2", "?unknown=1", "?%ff=%ff")


def list_paths() -> Iterator[str]:
    """Return every path of the contracts with each value of its last parameter, and paths of no operation."""
    for name in CONTRACTS:
        for template in yaml.safe_load((SPEC / f"{name}.yaml").read_text())["paths"]:
            names = re.findall(r"\{(\w+)\}", template)
            yield template
            for value in VALUES.get(names[-1], (ID,)) if names else ():
                path = template.replace(f"{{{names[-1]}}}", value)
                for other in names[:-1]:
                    path = path.replace(f"{{{other}}}", VALUES.get(other, (ID,))[0])
                yield path
    yield from (
        "/",
        "/nothing",
        "/webmessages/",
        "//webmessages",
        "/docs",
        "/docs/web-messages/openapi.json",
        "/docs/x",
    )


def build_requests() -> Iterator[dict[str, Any]]:
    for path in list_paths():
        for method in METHODS:
            yield {"method": method, "url": path, "headers": KEYS[1]}
        for key in KEYS:
            yield {"method": "POST" if path.endswith("s") else "GET", "url": path, "headers": key}
        for query in QUERIES:
            yield {"method": "GET", "url": path + query, "headers": KEYS[1]}
    for path in ("/webmessages", "/v1/besked", "/v1/abonnement"):
        for body in BODIES:
            for media_type in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
                headers = {
                    "apikey": PUBLISH_KEY if path.startswith("/v1") else MESSAGES_KEY,
                    "content-type": media_type,
                }
                yield {"method": "POST", "url": path, "headers": headers, "content": body}


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes
) -> Iterator[tuple[RunningService, RunningService]]:
    """A service whose operations are linked, and one whose requests pass all layers."""
    folder = tmp_path_factory.mktemp("linked")
    for name in ("linked", "layered"):
        (folder / f"{name}.db").write_bytes(migrated_sqlite)
        put_message_types(f"sqlite:///{folder}/{name}.db")
    with (
        running_service(database_url=f"sqlite:///{folder}/linked.db", link_operations=True) as linked,
        running_service(database_url=f"sqlite:///{folder}/layered.db", link_operations=False) as layered,
    ):
        yield linked, layered


def read_facts(response: httpx.Response) -> tuple[int, list[tuple[str, str]], str]:
    """Return status, headers and body without values that differ between responses."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in {"date", "location"}]
    return (
        response.status_code,
        headers,
        re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.+Z]+", "-", response.text),
    )


def test_linked_and_layered_operations_respond_alike(both: tuple[RunningService, RunningService]) -> None:
    statuses = set()
    with (
        httpx.Client(base_url=both[0].url, trust_env=False, verify=False) as linked,
        httpx.Client(base_url=both[1].url, trust_env=False, verify=False) as layered,
    ):
        for number, request in enumerate(build_requests()):
            headers = {**request.pop("headers"), "x-request-id": str(number), "x-requestId": str(number)}
            response, expected = (client.request(**request, headers=headers) for client in (linked, layered))
            if request["url"].partition("?")[0] != "/metrics":
                assert read_facts(response) == read_facts(expected), request
            statuses.add(response.status_code)
    assert {200, 201, 400, 401, 403, 404, 405, 415} <= statuses
    assert 500 not in statuses
