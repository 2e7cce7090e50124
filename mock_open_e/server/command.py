"""The command `mock-open-e`: it runs the mock as a server."""

import sys
import warnings
from pathlib import Path
from typing import Any

import click

from domain.errors import BudkavleError
from mock_open_e.server.specs import find_docs_dir

# Connexion imports a test client of Starlette that this program does not use.
warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")


class _Reporting(click.Command):
    """Reports an expected error in one line without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BudkavleError as exc:
            raise click.ClickException(str(exc)) from exc


_DOCS = find_docs_dir()


@click.command(
    "mock-open-e",
    cls=_Reporting,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    # `\b` keeps the lines as they are.
    epilog=f"\b\nSee:\n  {_DOCS / 'how-to/mock-open-e.md'}\n  {_DOCS / 'mock-open-e.example.yaml'}",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 selects a free port.")
@click.option("--username", help="Require HTTP Basic with this user name.")
@click.option("--password", help="The password of --username.")
@click.option(
    "--case",
    "cases",
    type=click.IntRange(1),
    multiple=True,
    help="A known case; may be repeated. By default every positive number is a case.",
)
@click.option(
    "--scenario",
    "scenario_path",
    type=click.Path(path_type=Path),
    help="A YAML file with credentials, users, families, cases, faults and conditions. Other options override it.",
)
@click.option("--strict", is_flag=True, help="Also reject what Open-E silently ignores, and give the reason.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file for scripts that wait for the mock: it contains the address while the mock listens.",
)
def command(
    host: str,
    port: int,
    username: str | None,
    password: str | None,
    cases: tuple[int, ...],
    scenario_path: Path | None,
    ready_file: Path | None,
    *,
    strict: bool,
) -> None:
    """Run a mock Open-E for integration partners."""
    from mock_open_e import MockOpenE
    from mock_open_e.server.application import serve_mock
    from mock_open_e.server.scenario_file import read_scenario
    from openapi.server import serving

    if password is not None and username is None:
        raise click.UsageError("--password needs --username")
    scenario = None if scenario_path is None else read_scenario(scenario_path)
    mock = MockOpenE(
        cases=cases or None, username=username, password=password, scenario=scenario, strict=strict or None
    )
    serving.run(serve_mock(host, port, mock, ready_file, _print_line))


def main() -> None:
    """Run the command as a separate program, with JSON logs on standard error."""
    from openapi.observation.logs import set_up_logs

    set_up_logs("json", "info")
    command.main()


def _print_line(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()
