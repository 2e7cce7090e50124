"""The commands of the guides for operators, run as the pages show them, and which test runs each block of commands."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from budkavle.clock import now
from delivery.signing import read_secret
from domain.deliveries import AttemptOutcome, Reason
from domain.retention import MessageSelection
from mock_open_e import MockOpenE
from persistence import retention
from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.commands.test_deliveries import settle
from tests.budkavle.commands.test_web_messages import store_unsettled_messages
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.budkavle.services import put_key
from tests.catalogues import FINGERPRINT, SYSTEM_ID
from tests.certificates import Authority
from tests.databases import run_with_database
from tests.factories import PARTY_ID
from tests.mock_servers import running_mock
from tests.pgbouncer import PASSWORD, pgbouncer_before
from tests.postgresql import PostgresqlServer
from tests.processes import REPOSITORY, run_program, running
from tests.shown_commands import (
    PAGES,
    Block,
    list_budkavle_commands,
    list_commands_in_text,
    read_block,
    read_blocks,
)
from tests.warm_commands import build_shell_command

OPERATOR = "tests/budkavle/test_shown_commands.py"
BACKUPS = "tests/budkavle/commands/test_backups_under_load.py"
COMPLETION = "tests/budkavle/commands/test_cli_completion.py"
INSTALL = "tests/test_install_commands.py"
ENGINE = "needs a container engine; tests/deploy/test_installed.py executes the steps of the files without one"
SWITCH = "tests/budkavle/commands/test_message_imports_guide.py"
GUIDED = "tests/deploy/test_installed.py"
MAKE = "sets up an environment or runs all tests; CI runs it, and tests/test_makefile.py looks at the targets"

BLOCKS = {
    ("CONTRIBUTING.md", "make test"): MAKE,
    ("README.md", "make run"): MAKE,
    ("README.md", "curl"): "tests/test_tutorials.py",
    ("docs/how-to/accept-access-tokens.md", "export"): "tests/budkavle/test_issuers_pages.py",
    ("docs/how-to/accept-access-tokens.md", "TOKEN="): "tests/budkavle/test_issuers_pages.py",
    ("docs/how-to/accept-access-tokens.md", ".venv/bin/python"): "tests/budkavle/test_issuers_pages.py",
    ("docs/how-to/accept-access-tokens.md", "openssl"): "tests/budkavle/test_issuers_pages.py",
    ("docs/how-to/audit.md", "openssl"): "tests/budkavle/commands/test_audit_export.py",
    ("docs/how-to/audit.md", "export AUDIT_SECRET"): "tests/budkavle/commands/test_audit_export.py",
    ("docs/how-to/back-up-and-restore.md", "systemctl stop"): GUIDED,
    ("docs/how-to/back-up-and-restore.md", "umask"): BACKUPS,
    ("docs/how-to/back-up-and-restore.md", "createdb"): BACKUPS,
    ("docs/how-to/back-up-and-restore.md", "pg_basebackup"): BACKUPS,
    ("docs/how-to/back-up-and-restore.md", "cp -a"): BACKUPS,
    ("docs/how-to/call-with-a-token.md", "TOKEN="): "tests/budkavle/test_issuers_pages.py",
    ("docs/how-to/catalogue.md", "echo"): OPERATOR,
    ("docs/how-to/command-line.md", 'eval "$(_BUDKAVLE_COMPLETE=bash'): COMPLETION,
    ("docs/how-to/command-line.md", 'eval "$(_BUDKAVLE_COMPLETE=zsh'): COMPLETION,
    ("docs/how-to/command-line.md", "_BUDKAVLE_COMPLETE=fish"): COMPLETION,
    ("docs/how-to/containers.md", "docker build"): ENGINE,
    ("docs/how-to/containers.md", "docker run"): ENGINE,
    ("docs/how-to/containers.md", "mkdir"): "tests/deploy/test_containers.py",
    ("docs/how-to/contract-check.md", "set -euo pipefail"): "tests/contract_tests/test_recipes.py",
    ("docs/how-to/contract-check.md", "# .github/"): "tests/contract_tests/test_recipes.py",
    ("docs/how-to/contract-check.md", "# .gitlab-ci"): "tests/contract_tests/test_recipes.py",
    ("docs/how-to/contract-check.md", "FROM"): "builds a container; its two `pip` commands are those of the pipelines",
    ("docs/how-to/deploy.md", "pip install"): INSTALL,
    ("docs/how-to/deploy.md", "export"): "tests/test_tutorials.py",
    ("docs/how-to/deploy.md", "budkavle serve"): OPERATOR,
    ("docs/how-to/generate-a-client.md", "openapi-python-client"): "tests/clients/generating.py",
    ("docs/how-to/generate-a-client.md", "npx --yes openapi-typescript"): "tests/clients/test_generated_typescript.py",
    ("docs/how-to/generate-a-client.md", "fastapi-codegen"): "tests/clients/test_generated_servers.py",
    ("docs/how-to/generate-a-client.md", "npx --yes -p"): "tests/clients/test_generated_servers.py",
    ("docs/how-to/install-as-a-service.md", "make wheel"): GUIDED,
    ("docs/how-to/install-as-a-service.md", "useradd"): GUIDED,
    ("docs/how-to/install-as-a-service.md", "runuser"): GUIDED,
    ("docs/how-to/install-as-a-service.md", "systemctl"): GUIDED,
    ("docs/how-to/install-as-a-service.md", "budkavle-admin"): GUIDED,
    (
        "docs/how-to/kubernetes.md",
        "kubectl",
    ): "needs a cluster; tests/deploy/test_kubernetes.py compares its files and names",
    ("docs/how-to/mock-open-e.md", "pip install"): INSTALL,
    ("docs/how-to/mock-open-e.md", "MOCK="): "tests/mock_open_e/server/test_application.py",
    ("docs/how-to/mock-open-e.md", "steps:"): "tests/mock_open_e/server/test_application.py",
    ("docs/how-to/mock-open-e.md", "test:"): "tests/mock_open_e/server/test_application.py",
    ("docs/how-to/operator-events.md", "export"): "tests/budkavle/test_operator_events.py",
    ("docs/how-to/pgbouncer.md", "export"): OPERATOR,
    ("docs/how-to/postgresql.md", "export"): OPERATOR,
    ("docs/how-to/proxies.md", "budkavle serve"): OPERATOR,
    ("docs/how-to/publish-events.md", "curl"): "tests/test_tutorials.py",
    ("docs/how-to/receive-webhooks.md", "curl"): OPERATOR,
    ("docs/how-to/receive-webhooks.md", "export"): "tests/receiver_tests/test_check_pages.py",
    ("docs/how-to/switch-from-web-message-sender.md", "pip install"): INSTALL,
    ("docs/how-to/switch-from-web-message-sender.md", "export OLD_DATABASE"): SWITCH,
    ("docs/how-to/switch-from-web-message-sender.md", "budkavle import"): SWITCH,
    ("docs/how-to/switch-from-web-message-sender.md", "curl"): SWITCH,
    ("docs/how-to/traces.md", "pip install"): INSTALL,
    (
        "docs/how-to/upgrade.md",
        "git checkout",
    ): "needs the tag of a release; tests/test_release.py builds the wheels twice",
    ("docs/reference/contract-check.md", "pip install"): INSTALL,
    ("docs/reference/contract-check.md", "API_KEY="): "tests/contract_tests/test_check.py",
    (
        "docs/reference/contract-check.md",
        "budkavle contract-check http://127.0.0.1:8080 --client-cert",
    ): "tests/contract_tests/test_baseline.py",
    ("docs/reference/contract-check.md", "export"): "tests/contract_tests/test_check_tokens.py",
    ("docs/reference/receiver-check.md", "WEBHOOK_SECRET="): "tests/receiver_tests/test_check_pages.py",
    ("docs/reference/receiver-check.md", "budkavle receiver-check"): "tests/receiver_tests/test_check_gateways.py",
    ("docs/tutorial/first-message.md", "make run"): MAKE,
    ("docs/tutorial/first-message.md", "curl"): "tests/test_tutorials.py",
    ("docs/tutorial/first-subscription.md", "CERT="): "tests/test_tutorials.py",
    ("docs/tutorial/first-subscription.md", "curl"): "tests/test_tutorials.py",
}
"""By page and beginning of a block: the test that runs it, or the reason why none does.

`test_each_command_that_a_page_shows_runs` runs blocks of `budkavle` commands that end.
"""

LINES = {
    ".venv/bin/budkavle dev --port N --mock-port N --receiver-port N --operations-port N": "tests/test_tutorials.py",
    ".venv/bin/python -m pytest -q tests/test_guards.py": "runs tests",
    "pip install --no-deps budkavle-*.whl mock_open_e-*.whl": INSTALL,
    "pip install 'budkavle[import]'": "the wheel comes from an index of the operator",
    "pip install 'budkavle[otel]'": "the wheel comes from an index of the operator",
    "pip install openapi-python-client": "requirements/dev.txt has it",
    "pip install fastapi fastapi-code-generator": "tests/clients/test_generated_servers.py",
    "pip install ./web-messages-client": "the tests import the project without an installation",
    "pre-commit install": "changes the repository",
    "promtool check rules budkavle-alerts.yml": "tests/test_alerts.py",
}
"""The same for commands in the text that are not those of `budkavle`, `make` and `python -m MODULE`."""

ENDLESS = {"contract-check", "dev", "import", "mock-open-e", "operations", "receiver-check", "serve", "worker"}
"""Commands that run until they are stopped or for half a minute, or need another database.

Tests of their own start them with every option.
"""

WITHOUT_RUN = {"CHANGELOG.md", "commands.md"}
"""Pages whose commands are not run: one names former commands, the other has the usage of each command."""

CATALOGUE = f"""systems:
  - systemIdentifier: {SYSTEM_ID}
    name: Fasit
    baseUrl: https://fasit.example/star
    certificates: ["sha256:{FINGERPRINT}"]
    webhookSecrets: ["file:secret"]
messageTypes:
  - {{entityType: 202, name: Type 202}}
  - {{entityType: 203, name: Type 203}}
allowedSubscriptions:
  - {{orgType: 1, entityType: 202}}
  - {{orgType: 2, entityType: 203}}
"""
SECRET = "whsec_" + "A" * 32


def has_only_budkavle_commands(block: Block) -> bool:
    """Return whether `test_each_command_that_a_page_shows_runs` runs all commands of a block."""
    if Path(block.page).name in WITHOUT_RUN:
        return False
    lines = [line.split() for line in block.text.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    return all(words[0] == "budkavle" and words[1] not in ENDLESS for words in lines)


def test_a_test_runs_each_block_of_commands_or_the_reason_is_here() -> None:
    found_blocks = [block for page in PAGES for block in read_blocks(page) if block.has_commands]
    shown_blocks = [block for block in found_blocks if not has_only_budkavle_commands(block)]
    keys = [[key for key in BLOCKS if key[0] == block.page and block.text.startswith(key[1])] for block in shown_blocks]
    unknown = [(block.page, block.text[:60]) for block, found in zip(shown_blocks, keys, strict=True) if not found]
    assert unknown == [], "run these commands in a test, and name it in BLOCKS"
    assert {key for found in keys for key in found} == set(BLOCKS)
    for test in {*BLOCKS.values(), *LINES.values()}:
        assert not test.startswith("tests/") or (REPOSITORY / test).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_block_has_a_language(page: Path) -> None:
    """Commands are `sh`; what has none is `text`."""
    assert [block.text[:60] for block in read_blocks(page) if not block.language] == []


def test_commands_in_the_text_are_known() -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    unknown = []
    for page in PAGES:
        for command in list_commands_in_text(page):
            program, *words = shlex.split(command)
            is_known = (
                program == "budkavle"
                or (program == "make" and (words[0] in targets or words[0].startswith("PYTHON=")))
                or (program == "python" and words[0] == "-m" and find_spec(words[1]) is not None)
            )
            if not is_known and command not in LINES:
                unknown.append((page.name, command))
    assert unknown == []


@pytest.fixture
def installation(sqlite_url: str, tmp_path: Path, invoke: Invoke) -> Path:
    """A folder with a catalogue, a seal and a database: two deliveries, one of them parked, and messages in doubt."""
    subscribe(sqlite_url, "http://127.0.0.1:9")
    publish(sqlite_url, 2)
    settle(sqlite_url, (SYSTEM_ID, AttemptOutcome.PARK, Reason.HTTP))
    store_unsettled_messages(sqlite_url, [timedelta(minutes=5)])
    put_key(sqlite_url, "tests")
    assert Seals(sqlite_url, invoke, tmp_path).seal().startswith("ok: ")
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


@pytest.fixture
def open_e_url() -> Iterator[str]:
    with running_mock(MockOpenE()) as address:
        yield f"{address}/external/api/callback"


def test_each_command_that_a_page_shows_runs(
    installation: Path, sqlite_url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, open_e_url: str
) -> None:
    """Without its arguments a command is only named, and may miss some that it needs."""
    monkeypatch.chdir(installation)
    monkeypatch.setenv("AUDIT_SECRET", "c2VjcmV0IG9mIHRoZSBhdWRpdCBpbiB0ZXN0cw==")
    database = installation / "test.db"
    content = database.read_bytes()
    head = invoke(sqlite_url, "audit", "verify").stdout.split()[0]
    message_id = json.loads(invoke(sqlite_url, "messages", "list").stdout)["id"]
    readable = run_with_database(sqlite_url, lambda opened: retention.find_messages(opened, MessageSelection(now())))
    [(readable_id, _)] = readable.items
    values = {
        "ID": list_queue(sqlite_url)[0].id,
        "FILE": "catalogue.yaml",
        "ci/catalogue.yaml": "catalogue.yaml",
        "HASH": head,
        "NAME": "tests",
        "PARTY_ID": PARTY_ID,
    }
    failed = {}
    pages = [page for page in PAGES if page.name not in WITHOUT_RUN]
    commands = {command for page in pages for command in list_budkavle_commands(page)}
    for command in sorted(commands):
        text = command.replace("--system ID", f"--system {SYSTEM_ID}").replace(" …", "")
        text = text.replace("messages delete ID", f"messages delete {readable_id}")
        text = re.sub("^(messages .*)ID", rf"\g<1>{message_id}", text)
        words = [values.get(word, word) for word in shlex.split(text)]
        if words[0] in ENDLESS or words[0].startswith("-"):
            continue
        database.write_bytes(content)
        settings = {"open_e_external_url": open_e_url, "settle_margin": "0"}
        if {"start-signing", "--signatures"}.intersection(words):
            settings["audit_key"] = "env:AUDIT_SECRET"
        if "--signatures" in words:
            assert invoke(sqlite_url, "audit", "start-signing", **settings).exit_code == 0
        if words[:2] == ["deliveries", "resume"] and words[2:]:
            assert invoke(sqlite_url, "deliveries", "pause", *words[2:]).exit_code == 0
        result = invoke(sqlite_url, *words, **settings)
        is_name = all(re.fullmatch("[a-z-]+", word) and not word.startswith("-") for word in words)
        # This installation has deliveries that no worker delivers.
        has_found_problem = words[0] == "doctor" and result.exit_code == 1
        # Without a confirmation, the command only counts.
        has_found_problem |= words[:2] == ["person", "erase"] and "--yes" not in words and result.exit_code == 1
        if result.exit_code != 0 and not (is_name and result.exit_code == 2) and not has_found_problem:
            failed[command] = result.output
    assert failed == {}


def run_block(folder: Path, script: str, **settings: object) -> str:
    """Paste a block into a shell, and return what it printed. It writes no errors."""
    result = run_program(*build_shell_command(script), folder=folder, **settings)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command uses openssl, which is missing")
def test_webhook_secret_is_one(tmp_path: Path) -> None:
    secret = run_block(tmp_path, read_block("docs/how-to/catalogue.md", "echo")).strip()
    assert len(read_secret(secret)) == 32


@pytest.mark.skipif(shutil.which("curl") is None, reason="the command uses curl, which is missing")
def test_service_speaks_tls_and_a_system_tries_its_receiver(
    sqlite_url: str, authority: Authority, tmp_path: Path
) -> None:
    service, system = authority.issue("127.0.0.1", "localhost"), authority.issue()
    for name, file in {"service": service.file, "system": system.file}.items():
        # Each of these files has the certificate and its key.
        shutil.copy(file, tmp_path / f"{name}.pem")
        shutil.copy(file, tmp_path / f"{name}.key")
    shutil.copy(authority.file, tmp_path / "clients-ca.pem")
    subscribe(sqlite_url, certificates=frozenset({system.fingerprint}))
    serve = read_block("docs/how-to/proxies.md", "budkavle serve").replace(
        "budkavle serve", "exec budkavle serve --port 0"
    )
    with running(*build_shell_command(serve), folder=tmp_path, database_url=sqlite_url) as process:
        url = process.wait_for("Budkavle listens on ")
        assert url.startswith("https://")
        curl = read_block("docs/how-to/receive-webhooks.md", "curl").replace("https://budkavle.example", url)
        curl = curl.replace("curl ", f"curl --cacert {authority.file} ")
        response = json.loads(run_block(tmp_path, curl))
    assert [item.id for item in list_queue(sqlite_url)] == [response["leveringId"]]


def run_until_ready(folder: Path, script: str) -> None:
    """Paste a block that ends with `budkavle serve`; the service becomes ready."""
    script = script.replace("budkavle serve", "exec budkavle serve --port 0")
    with running(*build_shell_command(script), folder=folder) as process:
        url = process.wait_for("Budkavle listens on ")
        assert httpx.get(f"{url}/health/ready", trust_env=False, verify=False).status_code == 200


def test_service_starts_a_process_per_core(tmp_path: Path) -> None:
    run_until_ready(tmp_path, read_block("docs/how-to/deploy.md", "budkavle serve"))


def test_postgresql_is_created_migrated_and_served(postgresql_server: PostgresqlServer, tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "how-to" / "postgresql.md"
    (sql,) = [block.text for block in read_blocks(page) if block.language == "sql"]
    try:
        for statement in sql.split(";\n")[:2]:
            postgresql_server.execute(statement.strip())
        (folder,) = parse_qs(urlsplit(postgresql_server.url("budkavle")).query)["host"]
        script = read_block("docs/how-to/postgresql.md", "export")
        place = "db.example.org/budkavle?sslmode=verify-full&sslrootcert=/etc/budkavle/ca.pem"
        assert place in script
        run_until_ready(tmp_path, script.replace(place, f"/budkavle?host={folder}"))
    finally:
        postgresql_server.execute("drop database if exists budkavle with (force)")
        postgresql_server.execute("drop role if exists budkavle")


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_urls_for_pgbouncer_work(postgresql_server: PostgresqlServer, tmp_path: Path, mode: str) -> None:
    name = f"shown_{mode}"
    page = REPOSITORY / "docs" / "how-to" / "pgbouncer.md"
    (script,) = [block.text for block in read_blocks(page) if block.has_commands and f"pooler={mode}" in block.text]
    with pgbouncer_before(postgresql_server.create_empty(name), mode) as bouncer:
        place = "budkavle:PASSWORD@127.0.0.1:6432/budkavle"
        assert place in script
        script = script.replace(place, f"postgres:{PASSWORD}@127.0.0.1:{bouncer.port}/{name}")
        if mode == "transaction":
            run_until_ready(tmp_path, script)
        else:
            # This block has the URL alone.
            run_block(tmp_path, f"{script}budkavle migrate")
    postgresql_server.execute(f"drop database {name} with (force)")
