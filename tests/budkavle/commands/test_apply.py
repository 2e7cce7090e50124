"""`budkavle apply`: output, rejected files and dry runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from budkavle.commands.apply import apply_catalogue, list_changes
from domain.audit import CATALOGUE
from domain.callers import build_certificate_caller
from domain.catalogue import Catalogue, ClientCertificate, WebMessageEvent, plan_apply
from domain.subscriptions import Entry
from persistence import audit, subscriptions
from persistence import catalogue as stored
from persistence.catalogue import Applied, Apply, Pruned
from persistence.database import Database
from persistence.opening import open_database
from tests.budkavle.conftest import Invoke
from tests.catalogues import EMPTY, FINGERPRINT, OTHER_ID, SYSTEM_ID, build_catalogue, build_message_type, build_system
from tests.databases import run_with_database
from tests.factories import NOW
from tests.processes import REPOSITORY, budkavle, run_program

EXAMPLE = REPOSITORY / "docs" / "catalogue.example.yaml"
NOTHING = "systems: []\nmessageTypes: []\nallowedSubscriptions: []\n"


def write_catalogue(folder: Path, text: str) -> str:
    path = folder / "catalogue.yaml"
    path.write_text(text)
    return str(path)


def read_outcomes(database_url: str) -> list[tuple[str, str]]:
    """Return kind and outcome of each entry of the catalogue's audit chain, which must be intact."""

    async def read(database: Database) -> list[tuple[str, str]]:
        _, broken = await audit.verify(database)
        assert broken is None
        page = await audit.list_page(database, after=0, limit=1000, chain=CATALOGUE)
        return [(item.entry.kind, item.entry.outcome) for _, item in page]

    found: list[tuple[str, str]] = run_with_database(database_url, read)
    return found


def put_subscriptions(database_url: str, system_id: str, *pairs: tuple[int, int], fingerprint: str) -> None:
    entries = [Entry(place, org, 101, type_, "/webhook", NOW) for place, (org, type_) in enumerate(pairs)]
    call = subscriptions.SyncCall(system_id, entries, NOW, build_certificate_caller(fingerprint), "sync")
    run_with_database(database_url, lambda database: subscriptions.sync(database, call))


FIRST = f"""+ system {SYSTEM_ID}
    name: "Fasit"
    baseUrl: "https://fasit.example/star"
    certificates: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    webhookSecrets: ["env:FASIT_SECRET_2", "file:{EXAMPLE.parent}/secrets/fasit"]
    clientCertificate: {{"certificate": "file:{EXAMPLE.parent}/certs/our.pem", "key": "file:{EXAMPLE.parent}/secrets/our.key"}}
    ca: "file:{EXAMPLE.parent}/certs/fasit-ca.pem"
    headers: {{"X-Api-Key": "env:FASIT_GATEWAY_KEY"}}
    oauth2: {{"tokenUrl": "https://login.fasit.example/oauth2/token", "clientId": "budkavle", "clientSecret": "file:{EXAMPLE.parent}/secrets/fasit-client", "scope": "star.webhooks", "audience": "https://api.fasit.example", "resource": "https://api.fasit.example/star", "authentication": "client_secret_basic"}}
+ system {OTHER_ID}
    name: "Momentum"
    baseUrl: "http://10.1.2.3:8080"
    allowPrivateAddresses: true
+ messageType 100008
    name: "Kontaktgruppe"
    startDato: "2024-10-01"
+ messageType 900001
    name: "Webbesked"
+ allowedSubscription orgType 7, entityType 900001
+ allowedSubscription orgType 8, entityType 100008
+ webMessageEvent
    orgType: 7
    orgCode: 281
    entityType: 900001
7 added, 0 changed, 0 removed
"""  # noqa: E501  # The printed lines are this long.


def test_second_apply_changes_nothing(database_url: str, invoke: Invoke, tmp_path: Path) -> None:
    dry = invoke(database_url, "apply", str(EXAMPLE), "--dry-run")
    assert (dry.exit_code, dry.stdout, dry.stderr) == (0, FIRST, "Dry run: nothing was changed.\n")
    assert run_with_database(database_url, stored.read) == EMPTY
    first = invoke(database_url, "apply", str(EXAMPLE))
    assert (first.exit_code, first.stdout, first.stderr) == (0, FIRST, "")
    second = invoke(database_url, "apply", str(EXAMPLE))
    assert (second.exit_code, second.stdout, second.stderr) == (0, "nothing to change\n", "")
    gone = invoke(database_url, "apply", write_catalogue(tmp_path, NOTHING))
    assert gone.stdout == FIRST.replace("+ ", "- ").replace(
        "7 added, 0 changed, 0 removed", "0 added, 0 changed, 7 removed"
    )
    calls = [("call", outcome) for outcome in ("dry run", "changed", "unchanged", "changed")]
    assert read_outcomes(database_url) == [*calls[:2], ("change", "changed"), *calls[2:], ("change", "changed")]


def test_diff_shows_the_changes_within_a_part() -> None:
    before = build_catalogue(
        build_system(certificates=frozenset({"aa" * 32, "bb" * 32}), webhook_secrets=("env:A", "env:B")),
        types=[build_message_type(), 203],
        event=WebMessageEvent(7, 281, 202),
    )
    after = build_catalogue(
        build_system(
            name='Å "x"',
            certificates=frozenset({"bb" * 32, "cc" * 32}),
            webhook_secrets=("env:B", "env:A"),
            client_certificate=ClientCertificate("file:/a", "file:/b"),
        ),
        types=[build_message_type(name="Other"), 203],
        event=WebMessageEvent(7, 282, 202),
    )
    assert list(list_changes(Applied(plan_apply(before, after)))) == [
        f"~ system {SYSTEM_ID}",
        '    name: "Fasit" -> "Å \\"x\\""',
        f'    certificates: - "sha256:{"aa" * 32}"',
        f'    certificates: + "sha256:{"cc" * 32}"',
        '    webhookSecrets: ["env:A", "env:B"] -> ["env:B", "env:A"]',
        '    clientCertificate: null -> {"certificate": "file:/a", "key": "file:/b"}',
        "~ messageType 202",
        '    name: "Type 202" -> "Other"',
        "~ webMessageEvent",
        "    orgCode: 281 -> 282",
        "0 added, 3 changed, 0 removed",
    ]


def test_diff_counts_what_is_pruned() -> None:
    pruned = (Pruned(SYSTEM_ID, 1, 0), Pruned(OTHER_ID, 2, 1))
    assert list(list_changes(Applied((), pruned)))[:2] == [
        f"- 1 subscription of {SYSTEM_ID}, with 0 messages not delivered",
        f"- 2 subscriptions of {OTHER_ID}, with 1 message not delivered",
    ]


def test_apply_names_everything_in_use_unless_it_is_pruned(database_url: str, invoke: Invoke, tmp_path: Path) -> None:
    whole = build_catalogue(build_system(), build_system(OTHER_ID))
    run_with_database(database_url, lambda database: stored.apply(database, Apply(whole, NOW, "put")))
    put_subscriptions(database_url, SYSTEM_ID, (1, 202), (2, 203), fingerprint=FINGERPRINT)
    put_subscriptions(database_url, OTHER_ID, (1, 202), fingerprint=FINGERPRINT)
    path = write_catalogue(tmp_path, NOTHING)
    for options in ((), ("--dry-run",)):
        refused = invoke(database_url, "apply", path, *options)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.splitlines() == [
            "Error: subscriptions need removed entries; nothing was applied (--prune also removes the subscriptions)",
            f"system {SYSTEM_ID}: 2 subscriptions of {SYSTEM_ID}",
            f"system {OTHER_ID}: 1 subscription of {OTHER_ID}",
            f"messageType 202: 2 subscriptions of {SYSTEM_ID}, {OTHER_ID}",
            f"messageType 203: 1 subscription of {SYSTEM_ID}",
            f"allowedSubscription orgType 1, entityType 202: 2 subscriptions of {SYSTEM_ID}, {OTHER_ID}",
            f"allowedSubscription orgType 2, entityType 203: 1 subscription of {SYSTEM_ID}",
        ]
        assert run_with_database(database_url, stored.read) == whole
    assert read_outcomes(database_url)[-2:] == [("call", "refused")] * 2
    dry = invoke(database_url, "apply", path, "--prune", "--dry-run")
    assert run_with_database(database_url, stored.read) == whole
    pruned = invoke(database_url, "apply", path, "--prune")
    assert (pruned.exit_code, pruned.stdout) == (0, dry.stdout)
    assert f"- 2 subscriptions of {SYSTEM_ID}, with 0 messages not delivered" in pruned.stdout.splitlines()
    assert run_with_database(database_url, stored.read) == EMPTY


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--prune",)])
def test_invalid_file_is_not_applied(
    database_url: str, invoke: Invoke, tmp_path: Path, options: tuple[str, ...]
) -> None:
    text = EXAMPLE.read_text().replace("entityType: 100008}", "entityType: 1}").replace(":8080", ":wrong")
    wrong = [number for number, line in enumerate(text.splitlines(), 1) if ":wrong" in line or "entityType: 1}" in line]
    path = write_catalogue(tmp_path, text)
    result = invoke(database_url, "apply", path, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    first, *faults = result.stderr.splitlines()
    assert first == "Error: the catalogue is invalid; nothing was applied"
    assert len(faults) == len(wrong) == 2
    assert all(fault.startswith(f"{path}:{number}: ") for fault, number in zip(faults, wrong, strict=True))
    assert run_with_database(database_url, stored.read) == EMPTY
    assert read_outcomes(database_url) == []


def test_missing_file_is_reported_in_one_line(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("sqlite:///never.db", "apply", f"{tmp_path}/none.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path}/none.yaml cannot be read: No such file or directory\n"


def test_apply_runs_as_a_program(sqlite_url: str) -> None:
    result = run_program(*budkavle("apply", "docs/catalogue.example.yaml"), folder=REPOSITORY, database_url=sqlite_url)
    assert (result.returncode, result.stdout, result.stderr) == (0, FIRST, "")


def test_concurrent_applies_leave_one_of_their_catalogues(database_url: str) -> None:
    """Each database belongs to one process; concurrent changes are isolated by the database itself."""

    async def work() -> tuple[list[Any], Catalogue]:
        databases = [open_database(database_url) for _ in range(4)]
        wanted = [build_catalogue(build_system(name=f"System {place}")) for place in range(4)]
        calls = [apply_catalogue(database, each, "asa") for database, each in zip(databases, wanted, strict=True)]
        applied = await asyncio.gather(*calls)
        left = await stored.read(databases[0])
        for database in databases:
            await database.close()
        assert left in wanted
        return applied, left

    applied, _ = asyncio.run(work())
    assert sorted(len(each.changes) for each in applied) == [1, 1, 1, 5]
    assert len(read_outcomes(database_url)) == 8
