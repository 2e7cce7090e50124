"""`budkavle mock-open-e`: the command `mock-open-e` with the settings for logs of this command line."""

from typing import Any

import click

from budkavle.commands.console import command_settings

try:
    from mock_open_e.server.command import command
except ModuleNotFoundError as exc:
    if exc.name != "mock_open_e":
        raise
    raise click.ClickException("The mock is a wheel of its own: pip install 'mock-open-e[server]'") from exc


@click.command("mock-open-e", params=command.params, help=command.help)
def mock_open_e(**options: Any) -> None:
    """Set up logs, then run the mock."""
    command_settings()
    command.callback(**options)  # type: ignore[misc]  # A command has a callback.
