"""The operator who runs a command, for the audit log."""

import getpass
import os

import click

from domain.callers import check_caller_name


def get_operator() -> str:
    """Return the name of the user of the operating system who runs this process, or `uid` and a number without one."""
    try:
        name = getpass.getuser()
        check_caller_name(name)
    except (KeyError, OSError, ValueError):
        # Containers run with user ids that have no name, and an environment may have any.
        return f"uid {os.getuid()}"
    return name


def _read_operator(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str:
    if name is None:
        return get_operator()
    try:
        check_caller_name(name)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return name


operator_option = click.option(
    "--as",
    "operator",
    metavar="NAME",
    callback=_read_operator,
    help="Your name for the audit log, instead of the user of the operating system.",
)
"""The option of every command that changes something."""
