"""`budkavle mock-open-e`: the command `mock-open-e` with the settings for logs of this command line."""

from typing import Any

import click

from budkavle.commands.console import load_command_settings

MISSING = (
    "the mock Open-E is not installed: build its wheel with `make wheel` in a checkout of Budkavle, "
    "and install it with pip install 'dist/mock_open_e-VERSION-py3-none-any.whl[server]'"
)


@click.command("mock-open-e", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def _report_missing(arguments: tuple[str, ...]) -> None:  # noqa: ARG001  # Whatever they are, the command is not there.
    """Run a mock Open-E for integration partners. It is not installed."""
    raise click.ClickException(MISSING)


def _find_command() -> click.Command:
    try:
        from mock_open_e.server.command import command
    except ModuleNotFoundError as exc:
        if exc.name != "mock_open_e":
            raise
        return _report_missing

    @click.command("mock-open-e", params=command.params, help=command.help, epilog=command.epilog)
    def run(**options: Any) -> None:
        load_command_settings()
        command.callback(**options)  # type: ignore[misc]  # A command has a callback.

    return run


mock_open_e = _find_command()
