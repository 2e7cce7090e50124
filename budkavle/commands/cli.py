"""The command line: `budkavle COMMAND`."""

import importlib
import keyword
import os
import re
import warnings
from typing import Any

import click

from budkavle.commands.console import import_quickly, load_command_settings, print_line, run_with_database
from budkavle.commands.option_types import ProcessCount, service_options
from budkavle.commands.progress import show_progress
from budkavle.documentation import list_documentation
from domain.errors import BudkavleError, StorageFailed

# Connexion imports a test client of Starlette that this program does not use.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")


_ASKS_FOR_HELP = "budkavle.asks_for_help"

_CREDENTIALS = re.compile(r"(://)\S*@")

_MODULES = {
    "api-key": "budkavle.commands.api_keys",
    "apply": "budkavle.commands.apply",
    "audit": "budkavle.commands.audit",
    "backup": "budkavle.commands.backups",
    "config": "budkavle.commands.config",
    "contract-check": "budkavle.commands.contract_check",
    "deliveries": "budkavle.commands.deliveries",
    "doctor": "budkavle.commands.doctor",
    "import": "budkavle.commands.message_imports",
    "messages": "budkavle.commands.web_messages",
    "mock-open-e": "budkavle.commands.mock_open_e",
    "person": "budkavle.commands.person",
    "purge": "budkavle.commands.purge",
    "receiver-check": "budkavle.commands.receiver_check",
    "restore": "budkavle.commands.backups",
}
"""Modules of commands, imported when the command is used, so that other commands start quickly."""

_REPORTS_UNKNOWN_VARIABLES = {"config", "doctor"}
"""Commands that report unknown variables themselves."""


class _Commands(click.Group):
    """Reports an expected error in one line without a traceback, and rejects misspelt settings before any command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_MODULES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _MODULES and cmd_name not in self.commands:
            name = cmd_name.replace("-", "_") + "_" * keyword.iskeyword(cmd_name)
            self.add_command(getattr(importlib.import_module(_MODULES[cmd_name]), name))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        is_running = not ctx.resilient_parsing and not ctx.meta[_ASKS_FOR_HELP]
        if is_running and args[0] not in _REPORTS_UNKNOWN_VARIABLES:
            with import_quickly():
                _check_environment()
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ASKS_FOR_HELP] = not {"-h", "--help"}.isdisjoint(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            # Click repeats wrong arguments, and an address may have a password.
            text = exc.format_message()
            if not _CREDENTIALS.search(text):
                raise
            raise click.UsageError(_CREDENTIALS.sub(r"\1…@", text), exc.ctx) from None
        except StorageFailed as exc:
            raise click.ClickException(exc.explanation or f"{exc} {exc.reason}".rstrip()) from exc
        except BudkavleError as exc:
            raise click.ClickException(str(exc)) from exc


def _check_environment() -> None:
    """Raise `SettingsUnusable` for misspelt settings, and print a warning for each variable that is ignored."""
    names = [name for name, value in os.environ.items() if value and name.upper().startswith("BUDKAVLE_")]
    if names:
        from budkavle.variables import check_variables

        for name in check_variables(names):
            click.echo(f"Warning: {name} is no setting of this version, and ignored", err=True)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=list_documentation("reference/settings.md", "how-to/deploy.md"),
)
@click.version_option(package_name="budkavle")
def main() -> None:
    """Budkavle: web messages and webhook subscriptions.

    Settings come from environment variables BUDKAVLE_*.
    """


@main.command()
@service_options
@click.option("--with-worker", is_flag=True, help="Deliver events in this process too.")
@click.option(
    "--processes",
    type=ProcessCount(),
    default="1",
    show_default=True,
    help="Processes that share the port, or `auto` for one per core.",
)
def serve(*, with_worker: bool, processes: int, **given: str | int | None) -> None:
    """Run the service.

    With several processes, one that ends by itself is restarted, and /metrics has the sum of all.
    """
    group = None
    if processes > 1:
        from openapi.server.processes import Supervisor

        # Create the supervisor before any module imports `prometheus_client`.
        group = Supervisor(processes)
    with import_quickly():
        settings = load_command_settings(**given)
        from budkavle.commands import run

    run.serve(settings, print_line, with_worker=with_worker, group=group)


@main.command()
@click.option("--concurrency", type=int, help="Instead of BUDKAVLE_WORKER_CONCURRENCY.")
def worker(concurrency: int | None) -> None:
    """Deliver events to the webhooks that subscribe to them.

    Health and metrics are on BUDKAVLE_WORKER_HOST and BUDKAVLE_WORKER_PORT. On PostgreSQL any number may run, on SQLite
    all but one wait.
    """
    with import_quickly():
        settings = load_command_settings(worker_concurrency=concurrency)
        from budkavle.commands import run
        from openapi.server import serving

    serving.run(run.run_worker(settings, print_line))


@main.command(epilog=list_documentation("how-to/operations-page.md"))
def operations() -> None:
    """Serve the operations page, for a browser.

    The page is /operations on BUDKAVLE_OPERATIONS_HOST and BUDKAVLE_OPERATIONS_PORT, next to health and metrics. It
    needs the database alone, so it works while the service and the workers are down.
    """
    with import_quickly():
        settings = load_command_settings()
        from budkavle.commands import run
        from openapi.server import serving

    serving.run(run.run_operations(settings, print_line))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port of the service.")
@click.option(
    "--mock-port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="The port of the mock Open-E."
)
@click.option(
    "--receiver-port",
    type=click.IntRange(0, 65535),
    default=8083,
    show_default=True,
    help="The port of the event receiver.",
)
@click.option(
    "--operations-port",
    type=click.IntRange(0, 65535),
    default=8084,
    show_default=True,
    help="The port of the operations page.",
)
def dev(port: int, mock_port: int, receiver_port: int, operations_port: int) -> None:
    """Run a demo on this machine, and print commands to try.

    It has a service, the operations page, a mock Open-E and a receiver of events.
    """
    from budkavle.commands import run
    from openapi.server import serving

    # The output is for a person, unless the environment says otherwise.
    log_format = None if "BUDKAVLE_LOG_FORMAT" in os.environ else "console"
    settings = load_command_settings(host="127.0.0.1", port=port, log_format=log_format)
    serving.run(run.run_dev(settings, mock_port, receiver_port, operations_port, print_line))


@main.command(epilog=list_documentation("how-to/upgrade.md"))
@click.option("--down-to", metavar="VERSION", help="Undo the migrations after this one instead; needs --yes.")
@click.option("--yes", "is_certain", is_flag=True, help="Remove the data that only later versions store.")
def migrate(down_to: str | None, *, is_certain: bool) -> None:
    """Migrate the database to this version. Several processes may do so at once.

    On PostgreSQL, a migration waits at most two seconds for a lock, and is repeated while other transactions hold it.
    """
    if down_to is None:
        with show_progress("Migrating the database"):
            run_with_database(lambda database: database.migrate(), migrated=False, may_create=True)
        return
    if not is_certain:
        raise click.UsageError("--down-to removes the data that only later versions store: stop them, and add --yes")
    with show_progress("Undoing migrations"):
        run_with_database(lambda database: database.downgrade(down_to), migrated=False)
