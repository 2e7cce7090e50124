"""The command line."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from budkavle.commands.cli import _MODULES, _REPORTS_UNKNOWN_VARIABLES, main
from budkavle.commands.contract_check_tokens import SECRET
from budkavle.variables import OTHER_VARIABLES
from domain.api_keys import hash_key
from persistence import api_keys
from tests.budkavle.conftest import Invoke
from tests.budkavle.services import KEY, put_key, running_program
from tests.databases import run_with_database
from tests.postgresql import PostgresqlServer
from tests.processes import REPOSITORY, budkavle, python, run_program
from tests.waiting import block_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


def test_api_key_create_prints_only_the_key(database_url: str, invoke: Invoke) -> None:
    result = invoke(database_url, "api-key", "create", "caller", "--scope", "publish", "--scope", "messages")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", result.stdout)
    found = run_with_database(
        database_url, lambda database: api_keys.find(database, hash_key(result.stdout.strip().encode()))
    )
    assert (found.name, found.scopes) == ("caller", ("messages", "publish"))


def test_api_key_create_refuses_a_name_in_use(database_url: str, invoke: Invoke) -> None:
    assert invoke(database_url, "api-key", "create", "caller", "--scope", "messages").exit_code == 0
    result = invoke(database_url, "api-key", "create", "caller", "--scope", "messages")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: a key named 'caller' is in use; revoke it first\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("caller",),
        ("caller", "--scope", "everything"),
        ("caller", "--scope", "publish:8:0101"),
        ("issuer#client", "--scope", "messages"),
        ("sha256:0a", "--scope", "messages"),
        ("caller", "--scope", "messages", "--expires", "0"),
        ("caller", "--scope", "messages", "--expires", "2027"),
        ("caller", "--scope", "messages", "--expires", "9" * 5000),
        ("caller", "--scope", "messages", "--expires", "-1"),
        ("caller", "--scope", "messages", "--expires", "soon"),
        ("caller", "--scope", "messages", "--expires", "2026-02-30"),
        ("caller", "--scope", "messages", "--expires", "2026-03-01"),
        ("caller", "--scope", "messages", "--expires", "0001-01-01"),
        ("caller", "--scope", "messages", "--expires", "9999-12-31T23:59:59-12:00"),
        ("", "--scope", "messages"),
        (" ", "--scope", "messages"),
        ("a\nb", "--scope", "messages"),
        ("--scope", "messages"),
    ],
    ids=[
        "no-scope",
        "unknown-scope",
        "padded-scope",
        "name-of-a-token",
        "name-of-a-certificate",
        "no-days",
        "year",
        "endless-days",
        "negative-days",
        "word",
        "no-date",
        "past",
        "first-year",
        "last-year",
        "empty",
        "blank",
        "two-lines",
        "no-name",
    ],
)
def test_api_key_create_refuses_unusable_arguments(
    database_url: str, invoke: Invoke, arguments: tuple[str, ...]
) -> None:
    result = invoke(database_url, "api-key", "create", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert run_with_database(database_url, api_keys.list_all) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", lambda created: created + timedelta(days=30)),
        ("1826", lambda created: created + timedelta(days=1826)),
        ("{year}-07-01", lambda created: datetime(created.year + 1, 6, 30, 22, tzinfo=UTC)),
        ("{year}-01-31T12:00:00.5Z", lambda created: datetime(created.year + 1, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_api_key_expires_after_days_or_at_a_time(
    database_url: str, invoke: Invoke, text: str, expected: Callable[[datetime], datetime]
) -> None:
    text = text.format(year=datetime.now(UTC).year + 1)
    result = invoke(database_url, "api-key", "create", "caller", "--scope", "publish:8", "--expires", text)
    assert (result.exit_code, result.stderr) == (0, "")
    (key,) = run_with_database(database_url, api_keys.list_all)
    assert key.expires == expected(key.created)
    listed = json.loads(invoke(database_url, "api-key", "list").stdout)
    assert listed["scopes"] == ["publish:8"]
    assert TIME.fullmatch(listed["expires"])
    assert datetime.fromisoformat(listed["expires"]) == key.expires.replace(
        microsecond=key.expires.microsecond // 1000 * 1000
    )


def test_api_key_list_shows_everything_except_keys(database_url: str, invoke: Invoke) -> None:
    key = invoke(database_url, "api-key", "create", "åke", "--scope", "messages").stdout.strip()
    invoke(database_url, "api-key", "revoke", "åke")
    invoke(database_url, "api-key", "create", "åke", "--scope", "publish")
    result = invoke(database_url, "api-key", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert TIME.fullmatch(first.pop("created"))
    assert TIME.fullmatch(first.pop("revoked"))
    assert TIME.fullmatch(second.pop("created"))
    assert first == {"name": "åke", "scopes": ["messages"]}
    assert second == {"name": "åke", "scopes": ["publish"]}
    assert key not in result.stdout
    assert hash_key(key.encode()) not in result.stdout


def test_api_key_revoke_refuses_an_unknown_name(database_url: str, invoke: Invoke) -> None:
    result = invoke(database_url, "api-key", "revoke", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no key named 'nobody' is in use\n"


def test_keys_created_and_revoked_elsewhere_take_effect_in_a_running_service(database_url: str, invoke: Invoke) -> None:
    with running_program(database_url) as service:
        created = invoke(database_url, "api-key", "create", "caller", "--scope", "messages")
        headers = {"apikey": created.stdout.strip()}
        path = "/webmessages/81471222-5798-11e9-ae24-57fa13b361e1"
        assert service.client.get(path, headers=headers).status_code == 404
        revoked = invoke(database_url, "api-key", "revoke", "caller")
        assert (revoked.exit_code, revoked.output) == (0, "")
        block_until(lambda: service.client.get(path, headers=headers).status_code == 401)


def iterate_leaf_commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from iterate_leaf_commands(command, (*path, name))
        else:
            yield (*path, name), command


LEAF_COMMANDS = dict(iterate_leaf_commands(main))
CATALOGUE = str(REPOSITORY / "docs" / "catalogue.example.yaml")
ARGUMENTS = {
    ("api-key", "create"): ("name", "--scope", "messages"),
    ("api-key", "revoke"): ("name",),
    ("apply",): (CATALOGUE,),
    ("audit", "prune"): ("--before", "2026-03-01", "--key", "seal-key.pem"),
    ("audit", "reads"): ("--party", str(uuid.UUID(int=1))),
    ("audit", "seal"): ("seals.jsonl", "--key", "seal-key.pem"),
    ("backup",): ("budkavle.backup",),
    ("deliveries", "drop"): ("--all", "--yes"),
    ("deliveries", "pause"): ("--system", str(uuid.UUID(int=1))),
    ("deliveries", "replay"): ("--all",),
    ("deliveries", "resume"): ("--system", str(uuid.UUID(int=1))),
    ("deliveries", "show"): (str(uuid.UUID(int=1)),),
    ("import", "web-message-sender"): ("mariadb://user@127.0.0.1:1/database", "--time-zone", "UTC"),
    ("messages", "delete"): (str(uuid.UUID(int=1)),),
    ("messages", "settle"): ("--all",),
    ("messages", "show"): (str(uuid.UUID(int=1)),),
    ("restore",): ("budkavle.backup",),
    ("person", "erase"): (str(uuid.UUID(int=1)), "--yes"),
    ("person", "export"): (str(uuid.UUID(int=1)),),
    ("serve",): ("--port", "0"),
}
"""Arguments with which the commands that need some are tried."""

WITHOUT_DATABASE = {
    ("config", "show"),
    ("contract-check",),
    ("dev",),
    ("doctor",),
    ("mock-open-e",),
    ("receiver-check",),
    # Tests of their own try them.
    ("backup",),
    ("restore",),
}
COMMANDS = [(*path, *ARGUMENTS.get(path, ())) for path in LEAF_COMMANDS if path not in WITHOUT_DATABASE]
RUNNING = [("serve", "--port", "0"), ("worker",), ("operations",)]
CREATING = [
    command for command in COMMANDS if command[:2] == ("api-key", "create") or command[0] in {"apply", "migrate"}
]
OTHERS = [
    *(command for command in COMMANDS if command not in RUNNING and command not in CREATING),
    ("apply", CATALOGUE, "--dry-run"),
    ("deliveries", "replay", str(uuid.UUID(int=1))),
    *(("messages", "settle", str(uuid.UUID(int=1)), each) for each in ("--published", "--not-published", "--resend")),
]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != ("migrate",)], ids=" ".join)
def test_commands_refuse_a_postgresql_that_is_not_migrated(
    postgresql_server: PostgresqlServer, invoke: Invoke, command: tuple[str, ...]
) -> None:
    url = postgresql_server.create_empty(f"unmigrated_{uuid.uuid4().hex}")
    result = invoke(url, *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: the database has no tables of this program: run 'budkavle migrate'\n"


def test_migrate_makes_a_postgresql_database_usable(postgresql_server: PostgresqlServer, invoke: Invoke) -> None:
    url = postgresql_server.create_empty(f"to_migrate_{uuid.uuid4().hex}")
    for _ in range(2):
        result = invoke(url, "migrate")
        assert (result.exit_code, result.output) == (0, "")
    assert invoke(url, "api-key", "list").exit_code == 0


@pytest.mark.parametrize("command", CREATING, ids=" ".join)
def test_commands_that_write_create_a_missing_sqlite_file(
    invoke: Invoke, tmp_path: Path, command: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path}/new/test.db"
    assert invoke(url, *command).exit_code == 0
    put_key(url)


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_other_commands_refuse_a_missing_sqlite_file(invoke: Invoke, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = invoke(f"sqlite:///{tmp_path}/missing.db", *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: there is no database file {tmp_path}/missing.db: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [*RUNNING, *CREATING, *OTHERS], ids=" ".join)
def test_commands_refuse_an_empty_sqlite_file(invoke: Invoke, tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    result = invoke(f"sqlite:///{path}", *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: the database file {path} is empty: restore it from a backup, or remove ")
    assert path.stat().st_size == 0


BAD_URLS = {
    "nonsense": "secret",
    "other": "mysql://user:secret@host/db",
    "memory": "sqlite://",
    "no-number": "postgresql://user:secret@127.0.0.1:port/db",
    "nobody-listens": "postgresql://user:secret@127.0.0.1:1/db",
    "no-such-host": "postgresql://user:secret@no.such.host.invalid/db",
    "no-tls": "postgresql://user:secret@127.0.0.1:1/db?sslmode=require",
    "unknown-option": "postgresql://user:secret@127.0.0.1:1/db?no_such_option=1",
    "folder": "sqlite:///{folder}",
    "below-a-file": "sqlite:///{folder}/file/secret.db",
}


@pytest.mark.parametrize("command", [*RUNNING, ("migrate",)], ids=" ".join)
@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_commands_report_a_database_error_in_one_line(
    invoke: Invoke, tmp_path: Path, url: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    result = invoke(url.format(folder=tmp_path / "folder"), *command, database_pool_timeout="0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    assert "secret" not in result.stderr


def test_commands_explain_that_a_file_is_not_a_database(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is not a database.\n" * 100)
    result = invoke(f"sqlite:///{tmp_path / 'text.db'}", "migrate")
    assert result.stderr == (
        "Error: the file is not a SQLite database: correct BUDKAVLE_DATABASE_URL, or restore it from a backup "
        "(SQLITE_NOTADB)\n"
    )


def test_commands_report_a_missing_database_in_one_line(postgresql_server: PostgresqlServer, invoke: Invoke) -> None:
    for command in COMMANDS:
        result = invoke(postgresql_server.url("nobody_made_it"), *command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)


@pytest.mark.parametrize("command", [*COMMANDS, ("dev",), ("mock-open-e",)], ids=" ".join)
def test_commands_report_an_invalid_setting_in_one_line(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke("sqlite:///never.db", *command, shutdown_timeout="secret")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: unusable settings: BUDKAVLE_SHUTDOWN_TIMEOUT: [^\n]+\n", result.stderr)
    assert "secret" not in result.stderr


def test_process_and_runner_print_the_same(sqlite_url: str) -> None:
    result = run_program(*budkavle("api-key", "create", "caller", "--scope", "messages"), database_url=sqlite_url)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", result.stdout)
    result = run_program(*budkavle("migrate"), database_url="nonsense")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://\n"


def test_mock_open_e_requires_a_username_with_a_password(invoke: Invoke) -> None:
    result = invoke("sqlite:///never.db", "mock-open-e", "--password", "secret")
    assert result.exit_code == 2
    assert "--password needs --username" in result.stderr


def test_help_and_version_need_no_configuration(invoke: Invoke) -> None:
    for arguments in (("--help",), ("-h",), ("--version",), ("serve", "--help"), ("api-key", "--help")):
        result = invoke("nonsense", *arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout
    assert KEY not in result.stdout


@pytest.mark.parametrize(
    "path", [path for path in LEAF_COMMANDS if path[0] not in _REPORTS_UNKNOWN_VARIABLES], ids=" ".join
)
def test_command_rejects_a_misspelt_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"BUDKAVLE_PROT": "9", "BUDKAVLE_HSOT": "x", "BUDKAVLE_NOTHING": ""}
    result = CliRunner().invoke(main, path, env=environment)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: misspelt settings: BUDKAVLE_HSOT is not a setting (did you mean BUDKAVLE_HOST?); "
        "BUDKAVLE_PROT is not a setting (did you mean BUDKAVLE_PORT?)\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert CliRunner().invoke(main, [*path, "--help"], env=environment).exit_code == 0


def test_command_ignores_a_setting_of_a_later_version_with_a_warning(sqlite_url: str, invoke: Invoke) -> None:
    result = invoke(sqlite_url, "api-key", "list", later_setting="s3cret")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "Warning: BUDKAVLE_LATER_SETTING is no setting of this version, and ignored\n"


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("budkavle.commands.cli", {"sqlalchemy", "pydantic", "structlog", "requests", "connexion"}),
        ("budkavle.commands.contract_check", {"sqlalchemy", "pydantic", "structlog", "connexion"}),
        ("budkavle.commands.run", {"aiohttp", "responses", "mock_open_e"}),
    ],
)
def test_commands_do_not_import_unused_libraries(module: str, unused: set[str]) -> None:
    """Importing all libraries takes a second."""
    result = run_program(
        *python(f"import sys, warnings; warnings.simplefilter('ignore'); import {module}; print(*sys.modules)")
    )
    assert {"click", module} <= set(result.stdout.split())
    assert not unused & set(result.stdout.split())


AT_START = """
import gc, sys, warnings
from click import ClickException
from budkavle.commands.cli import main

warnings.simplefilter("ignore")
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
try:
    main(sys.argv[1:], standalone_mode=False)
except ClickException as exc:
    print(exc.message)
print(len(collections), gc.isenabled(), "rich" in sys.modules)
"""


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_imports_of_servers_run_without_garbage_collections_and_rich(command: str) -> None:
    """Without this, the start of the service takes a fifth more processor time."""
    done = run_program(*python(AT_START), command, database_url="mysql://", port=0, worker_port=0)
    message, counted = done.stdout.splitlines()
    assert message == "BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://"
    collections, is_enabled, has_rich = counted.split()
    assert int(collections) < 100
    assert (is_enabled, has_rich) == ("True", "False")


def test_help_imports_all_commands_without_libraries() -> None:
    result = run_program(
        *python(
            "import sys; from click.testing import CliRunner; from budkavle.commands.cli import main; "
            "CliRunner().invoke(main, ['--help'], catch_exceptions=False); print(*sys.modules)"
        )
    )
    modules = set(result.stdout.split())
    assert set(_MODULES.values()) <= modules
    libraries = {"sqlalchemy", "pydantic", "structlog", "requests", "connexion", "starlette", "yaml", "rich", "asyncio"}
    assert not libraries & modules


def test_lists_of_commands_show_whole_sentences_at_80_columns() -> None:
    groups = {path[:length] for path in LEAF_COMMANDS for length in range(len(path))}
    assert len(groups) >= 7
    for group in groups:
        result = CliRunner().invoke(main, [*group, "--help"], terminal_width=80)
        assert [line for line in result.stdout.splitlines() if re.match(r"  \S.*[.]{3}$", line)] == []


def test_variables_of_options_are_known() -> None:
    parameters = [parameter for command in LEAF_COMMANDS.values() for parameter in command.params]
    # A secret has no option, which other users of the machine could see among its processes.
    assert {parameter.envvar for parameter in parameters if parameter.envvar} | {SECRET} == OTHER_VARIABLES
