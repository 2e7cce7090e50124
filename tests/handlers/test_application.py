"""The assembled application."""

import asyncio
import copy
import shutil
from collections.abc import MutableMapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from connexion.exceptions import InvalidSpecification
from connexion.spec import Specification

from budkavle.service import create_service
from budkavle.settings import Settings
from domain.api_keys import ApiKey, hash_key
from domain.publications import CallTimes
from handlers.application import create_application
from handlers.contracts import CONTRACTS
from handlers.metrics import QueueWatch
from handlers.publications.outcomes import PublicationOutcomes
from handlers.requests import Services
from handlers.security.authentication import ApiKeys
from handlers.tallies.refusals import RefusalTally
from open_e.calls import OpenECalls
from open_e.client import OpenEClient
from openapi.application import read_spec
from openapi.bodies.budget import BodyBudget
from openapi.observation.source_limits import FailureLimit
from openapi.start_limiter import STARTS_PER_ITERATION
from persistence.batches import MAX_BATCH
from persistence.opening import open_database
from tests.factories import NOW
from tests.handlers.messages import create_id

SPEC = Path(__file__).parents[2] / "spec"


class NoSettler:
    async def settle(self, message_id: str) -> None:
        """Settle nothing."""


def create(spec_dir: Path) -> Any:
    database = open_database("sqlite:///never-opened.db")
    client = OpenEClient({}, connect_timeout=1, read_timeout=1, threads=1)
    open_e = OpenECalls(
        client, frozenset(), threads=1, queue_timeout=1, now=lambda: NOW, circuit_threshold=1, probe_seconds=1
    )
    outcomes = PublicationOutcomes(database, now=lambda: NOW, timeout=1)
    services = Services(
        database=database,
        open_e=open_e,
        outcomes=outcomes,
        settler=NoSettler(),
        call_times=CallTimes(timedelta(0), timedelta(0)),
        now=lambda: NOW,
        new_id=create_id,
        queue_watch=QueueWatch(database),
        refusals=RefusalTally(database, now=lambda: NOW),
        wake_worker=lambda: None,
        wake_worker_for_message=lambda: None,
        content_budget=BodyBudget(1, 1),
    )
    return create_application(
        spec_dir, services, ApiKeys(database, lambda: NOW), body_budget=BodyBudget(1, 1), failures=FailureLimit(1)
    )


def test_create_application_refuses_contracts_that_share_an_operation_id(tmp_path: Path) -> None:
    """Connexion keys security by the id, so the second operation would respond without authentication."""
    folder = tmp_path / "spec"
    shutil.copytree(SPEC, folder)
    path = folder / "operations.yaml"
    path.write_text(path.read_text().replace("operationId: getHealthLive", "operationId: getWebMessageById"))
    with pytest.raises(ValueError, match="operation ids are shared: getWebMessageById"):
        create(folder)


def test_create_application_accepts_the_published_contracts() -> None:
    assert callable(create(SPEC))


def test_services_of_a_process_share_contracts_that_they_leave_unchanged() -> None:
    """Parsing a contract takes longer than all else that a service needs."""
    before = {name: copy.deepcopy(read_spec(SPEC, name)) for name in CONTRACTS}
    create(SPEC)
    for name in CONTRACTS:
        assert read_spec(SPEC, name) is read_spec(SPEC, name)
        assert read_spec(SPEC, name) == before[name]


@pytest.mark.anyio
async def test_services_of_a_process_compile_each_operation_once() -> None:
    """Compiling takes half of the time in which a service starts."""
    compiled = []
    for service in (create(SPEC), create(SPEC)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://service") as client:
            await client.get("/unknown")
        apis = {id(api.specification): api.specification.compiled for api in service.apis}
        compiled.append({number: {key: id(each) for key, each in known.items()} for number, known in apis.items()})
    assert compiled[0] == compiled[1]
    assert all(operations for operations in compiled[0].values())


@pytest.mark.parametrize("name", sorted(path.stem for path in SPEC.glob("*.yaml")))
def test_connexion_accepts_the_contracts(name: str) -> None:
    spec = copy.deepcopy(read_spec(SPEC, name))
    Specification.load(spec)
    spec["info"].pop("title")
    with pytest.raises(InvalidSpecification):
        Specification.load(spec)


@pytest.mark.parametrize(
    ("path", "status", "most"),
    # The responses to reads of a batch begin together.
    [("/webmessages/recipients/", 200, STARTS_PER_ITERATION), ("/webmessages/", 404, MAX_BATCH)],
)
def test_concurrent_requests_leave_turns_of_the_event_loop_to_others(
    migrated_sqlite: bytes, tmp_path: Path, path: str, status: int, most: int
) -> None:
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    key = ApiKey(hash_key(b"key"), "tests", ("messages",), NOW)
    service = create_service(Settings(database_url=f"sqlite:///{tmp_path / 'test.db'}"), extra_keys=(key,))
    statuses: list[int] = []

    async def get() -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": f"{path}{uuid4()}",
            "query_string": b"",
            "headers": [(b"host", b"x"), (b"apikey", b"key")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await service(scope, receive, send)

    async def scenario() -> None:
        # The first request assembles the application.
        await get()
        requests = [asyncio.create_task(get()) for _ in range(5 * most)]
        counts = [1]
        while not all(request.done() for request in requests):
            await asyncio.sleep(0)
            counts.append(len(statuses))
        assert max(after - before for before, after in pairwise(counts)) <= most

    asyncio.run(scenario())
    assert statuses == [status] * (5 * most + 1)
