"""`budkavle config`: the settings in effect."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from budkavle.commands.console import print_line
from budkavle.commands.option_types import service_options
from budkavle.documentation import list_documentation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from budkavle.effective_settings import EffectiveSetting, EffectiveSettings


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
        if unknown.is_misspelt:
            text = click.style(f"is not a setting (did you mean {unknown.similar}?)", fg="red")
        else:
            text = click.style("is no setting of this version, and ignored", fg="yellow")
        yield f"{unknown.name:{width}}  environment  {text}"


def _render_value(each: EffectiveSetting) -> str:
    if each.fault is not None:
        return click.style(f"invalid: {each.fault}", fg="red")
    if each.value is None:
        return ""
    if isinstance(each.value, list):
        return ",".join(each.value)
    return str(each.value)
