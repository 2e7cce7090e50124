"""Write docs/reference/commands.md from the command line itself: `make commands-page`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click

from budkavle.commands.cli import main
from budkavle.documentation import find_docs_dir
from tests.processes import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "commands.md"

_HEAD = """# Command line

`make commands-page` writes this page from the command line itself; a test fails when it is out of date.

An expected error is one line on standard error and exit code 1; wrong arguments have exit code 2. `-h` and `--help`
print the help of every command. [Settings](settings.md) come from environment variables.
"""


def render() -> str:
    """Return the page: a section for each command, in the order of `--help`."""
    root = click.Context(main, info_name="budkavle", **main.context_settings)
    return "\n".join([_HEAD, *_render_index(root), "", *_render_sections(root)])


def _iterate_leaves(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command, without the groups."""
    if not isinstance(context.command, click.Group):
        yield context
        return
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        assert command is not None
        yield from _iterate_leaves(click.Context(command, parent=context, info_name=name))


def _render_index(root: click.Context) -> Iterator[str]:
    yield "| command | purpose |"
    yield "|---|---|"
    for context in _iterate_leaves(root):
        path = context.command_path
        yield f"| [`{path}`](#{path.replace(' ', '-')}) | {context.command.get_short_help_str(200)} |"


def _render_sections(root: click.Context) -> Iterator[str]:
    for context in _iterate_leaves(root):
        yield f"## {context.command_path}\n"
        usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
        yield f"```text\n{usage}\n```\n"
        # A line break within a paragraph of the docstring is not significant.
        for paragraph in (context.command.help or "").split("\n\n"):
            yield f"{' '.join(paragraph.split())}\n"
        yield from _render_page_links(_find_epilog(context))
        records = [
            record
            for parameter in context.command.params
            if (record := parameter.get_help_record(context)) is not None and record[1]
        ]
        if records:
            yield "| option | meaning |"
            yield "|---|---|"
            for option, text in records:
                yield f"| `{_escape_cell(option)}` | {_escape_cell(text)} |"
            yield ""


def _find_epilog(context: click.Context) -> str | None:
    """Return the last lines of a command's help, or of the help of its group."""
    group = context.parent
    if context.command.epilog or group is None or group.parent is None:
        return context.command.epilog
    return group.command.epilog


def _render_page_links(epilog: str | None) -> Iterator[str]:
    """Yield a line with links to the pages to which a command's help refers."""
    paths = [Path(line.strip()) for line in (epilog or "").splitlines() if "/" in line]
    links = [f"[{path.relative_to(find_docs_dir())}]({os.path.relpath(path, PAGE.parent)})" for path in paths]
    if links:
        yield f"See {', '.join(links)}.\n"


def _escape_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    PAGE.write_text(render())
