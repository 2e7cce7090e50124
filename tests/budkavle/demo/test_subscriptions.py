"""The system of the demo, before the service starts."""

import base64
import hashlib
import json
import shlex
from dataclasses import replace
from typing import Any

import yaml
from cryptography import x509

from budkavle.demo.subscriptions import FINGERPRINT, SYSTEM_ID, build_subscription_commands, put_demo_system
from domain.catalogue import Allowed, Catalogue
from domain.subscriptions import Identity, MessageType
from persistence import catalogue as stored
from persistence import events, subscriptions
from persistence.catalogue import Apply
from persistence.database import Database
from tests.catalogues import OTHER_ID, build_catalogue, build_system
from tests.databases import run_with_database
from tests.factories import NOW
from tests.processes import REPOSITORY


def put(database_url: str) -> Catalogue:
    async def work(database: Database) -> Catalogue:
        await put_demo_system(database, "http://127.0.0.1:8083", NOW, "demo")
        return await stored.read(database)

    found: Catalogue = run_with_database(database_url, work)
    return found


def test_demo_catalogue_accepts_the_examples_of_the_contract(database_url: str) -> None:
    found = put(database_url)
    spec: dict[str, Any] = yaml.safe_load((REPOSITORY / "spec" / "subscriptions.yaml").read_text())
    content = spec["paths"]["/v1/abonnement/sync"]["post"]["requestBody"]["content"]["application/json"]
    example = content["example"] if "example" in content else next(iter(content["examples"].values()))["value"]
    assert example["systemIdentifier"] in found.systems
    for entry in example["abonnementer"]:
        assert entry["entityType"] in found.message_types
        assert Allowed(entry["orgType"], entry["entityType"]) in found.allowed


def test_second_start_of_the_demo_restores_only_its_own_data(database_url: str) -> None:
    first = put(database_url)
    others = build_catalogue(
        replace(first.systems[SYSTEM_ID], certificates=frozenset()),
        build_system(OTHER_ID),
        types=[*first.message_types.values(), MessageType(5, "Other")],
        allowed=[*first.allowed, (5, 5)],
    )
    run_with_database(database_url, lambda database: stored.apply(database, Apply(others, NOW, "other")))
    second = put(database_url)
    assert second == replace(others, systems={**others.systems, SYSTEM_ID: first.systems[SYSTEM_ID]})


def test_demo_creates_one_subscription_unless_others_exist(database_url: str) -> None:
    for _ in range(2):
        put(database_url)
        (one,) = run_with_database(database_url, lambda database: subscriptions.list_subscriptions(database, SYSTEM_ID))
        assert one.identity == Identity(1, 101, 202)


def test_demo_has_the_event_of_the_examples(database_url: str) -> None:
    spec: dict[str, Any] = yaml.safe_load((REPOSITORY / "spec" / "subscriptions.yaml").read_text())
    event_id = spec["paths"]["/v1/besked/{beskedId}"]["get"]["parameters"][0]["example"]
    for _ in range(2):
        put(database_url)
        status = run_with_database(database_url, lambda database: events.find_status(database, event_id, NOW))
        assert (status.waiting, status.delivered, status.parked) == (0, 0, 0)


def test_printed_certificate_is_in_the_catalogue(database_url: str) -> None:
    found = put(database_url)
    commands = [
        line
        for line in build_subscription_commands("http://127.0.0.1:8080", "demo").splitlines()
        if line.startswith("curl ")
    ]
    sync, fetch, _, waiting = (shlex.split(command) for command in commands)
    for command in (sync, fetch, waiting):
        (header,) = [argument for argument in command if argument.startswith("Client-Cert: :")]
        der = base64.b64decode(header.removeprefix("Client-Cert: :").removesuffix(":"), validate=True)
        assert hashlib.sha256(der).hexdigest() == FINGERPRINT
        assert found.systems[SYSTEM_ID].certificates == {FINGERPRINT}
        certificate = x509.load_der_x509_certificate(der)
        assert certificate.not_valid_before_utc < NOW
        assert certificate.not_valid_after_utc.year == 9999
    body = json.loads(sync[sync.index("-d") + 1])
    assert body["systemIdentifier"] == SYSTEM_ID
    assert all(entry["entityType"] in found.message_types for entry in body["abonnementer"])
    assert fetch[2] == f"http://127.0.0.1:8080/v1/abonnement?systemIdentifier={SYSTEM_ID}"
