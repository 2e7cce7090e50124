"""`budkavle config`: the settings in effect."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import print_line
from budkavle.commands.option_types import service_options
from budkavle.commands.records import Column, is_for_people, print_table
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from budkavle.effective_settings import EffectiveSetting, EffectiveSettings
    from budkavle.variables import UnknownVariable


_COLUMNS = (
    Column("Variable", "variable"),
    Column("Origin", "origin"),
    Column("Value", "value", shortest=16, is_wrapped=True),
)


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(epilog=list_documentation("reference/settings.md"))
@service_options
@click.option("--concurrency", type=int, help="Instead of BUDKAVLE_WORKER_CONCURRENCY.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, as_json: bool, concurrency: int | None, **given: str | int | None) -> None:
    """Show every setting with its value and origin.

    An origin is default, environment or option.

    Passwords are masked. The options are those of `serve` and `worker`. Exit code: 0 if programs start with these
    settings, 1 if a value is invalid or a variable is misspelt. Other unknown variables are ignored: they may be
    settings of a later version.
    """
    from budkavle.effective_settings import read_effective_settings

    found = read_effective_settings(**given, worker_concurrency=concurrency)
    if as_json:
        print_line(json.dumps(_to_json(found), ensure_ascii=False, indent=2))
    elif is_for_people():
        print_table(_COLUMNS, [*map(_describe_setting, found.settings), *map(_describe_unknown, found.unknown)])
    else:
        for line in _render(found):
            print_line(line)
    if not found.is_usable:
        raise SystemExit(1)


def _to_json(found: EffectiveSettings) -> dict[str, object]:
    unknown = [
        {"variable": each.name, "similar": each.similar, "ignored": not each.is_misspelt} for each in found.unknown
    ]
    return {"settings": [asdict(each) for each in found.settings], "unknown": unknown}


def _render(found: EffectiveSettings) -> Iterator[str]:
    """Yield a line for each setting in columns, then the unknown variables."""
    width = max(len(each.variable) for each in found.settings)
    for each in found.settings:
        yield f"{each.variable:{width}}  {each.origin:11}  {_render_value(each)}".rstrip()
    for unknown in found.unknown:
        yield f"{unknown.name:{width}}  environment  {_describe_unknown(unknown)['value']}"


def _render_value(each: EffectiveSetting) -> str:
    if each.fault is not None:
        return f"invalid: {each.fault}"
    if each.value is None:
        return ""
    if isinstance(each.value, list):
        return ",".join(each.value)
    return str(each.value)


def _describe_setting(each: EffectiveSetting) -> dict[str, str]:
    return {"variable": each.variable, "origin": each.origin, "value": _render_value(each)}


def _describe_unknown(each: UnknownVariable) -> dict[str, str]:
    value = "is no setting of this version, and ignored"
    if each.is_misspelt:
        value = f"is not a setting (did you mean {each.similar}?)"
    return {"variable": each.name, "origin": "environment", "value": value}
