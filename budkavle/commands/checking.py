"""The parts that `contract-check` and `receiver-check` share: the address, the output and the exit codes."""

import ipaddress
import re
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract_tests.check import Progress
    from contract_tests.redacting import Redactor
    from contract_tests.summary import Heading
    from contract_tests.verdict import SuiteResult, Verdict

    RunCheck = Callable[[Progress, Callable[[SuiteResult], None]], Verdict]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class CannotCheck(click.ClickException):
    """The check cannot run. Click prints only the message, without the usage of the command."""

    exit_code = 2


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is certain to be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str, allow_host: str | None, consequences: str, *, name: str, may_have_query: bool = False) -> None:
    """Raise UsageError unless the address is valid and its host is this machine or allowed.

    `consequences` is a sentence about the check for other hosts; `name` is the argument of the command.
    """
    try:
        parts = urlsplit(url)
        # Reject addresses that programs may parse differently.
        is_plain = url.isascii() and not re.search(r"[\s\\@\x00-\x1f\x7f]", url) and parts.port != 0
    except ValueError:
        is_plain = False
    is_plain = is_plain and not parts.fragment and (may_have_query or not parts.query)
    if not is_plain or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter("must be like http://127.0.0.1:8080", param_hint=name)
    host = parts.hostname
    if not is_loopback(host) and host != (allow_host or "").lower():
        raise CannotCheck(
            f"{host} is not this machine. {consequences}: if it is a server for tests, add --allow-host {host}"
        )


def run_and_report(
    run: "RunCheck",
    heading: "Heading",
    redactor: "Redactor",
    *,
    variables: str | None = None,
    unchanged: tuple[str, ...] = (),
) -> int:
    """Run a check, print and write what it found without secrets, and return the exit code.

    `variables` is the content of the file that sets the variables of the commands. The files in the report that are
    named in `unchanged` keep their secrets. Raises CannotCheck if the target cannot be checked.
    """
    from budkavle.commands.check_reports import render_page
    from contract_tests import summary
    from contract_tests.preparing import CannotCheckError

    screen = _Screen(redactor)
    try:
        verdict = run(screen.show_progress, screen.print_result)
        text = summary.format_screen(verdict, heading)
        written = {
            summary.REPORT_FILE: summary.format_report(verdict, heading),
            summary.PAGE_FILE: render_page(verdict, heading),
            summary.VARIABLES_FILE: variables,
        }
        for name, content in written.items():
            if content is not None:
                (heading.report / name).write_text(content, encoding="utf-8", errors="backslashreplace")
    except CannotCheckError as exc:
        raise CannotCheck(redactor.text(str(exc))) from None
    except CannotCheck:
        raise
    except Exception as exc:  # noqa: BLE001  # The outermost place: nothing may print what it has not cleaned.
        # Print no traceback, which could contain a secret.
        text = f"the check failed by a fault of its own, {type(exc).__name__}: {exc} ({_locate_exception(exc)})"
        raise CannotCheck(redactor.text(text)) from None
    finally:
        if heading.report.is_dir():
            redactor.folder(heading.report, *unchanged)
    screen.print("\n" + text)
    if verdict.is_interrupted:
        return 128 + signal.SIGINT
    if verdict.failures:
        return 1
    return 2 if verdict.errors or verdict.left else 0


def _locate_exception(exc: Exception) -> str:
    """Return the file and line that raised an exception."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


class _Screen:
    """Prints without secrets, and shows the suites that run on one line that is overwritten, on a terminal only."""

    def __init__(self, redactor: "Redactor") -> None:
        self._redactor = redactor
        self._running: dict[str, str] = {}
        self._shown = ""

    def print(self, text: str) -> None:
        """Print a text."""
        _clear()
        self._shown = ""
        # All output, and all files written after a suite, pass through the redactor.
        click.echo(self._redactor.text(text), nl=False)

    def print_result(self, result: "SuiteResult") -> None:
        """Print the line of a suite that has ended."""
        from contract_tests import summary

        self._running.pop(result.name, None)
        self.print(summary.format_result(result) + "\n")

    def show_progress(self, suite: str, done: int, total: int | None, last: str) -> None:
        """Show the progress of a suite next to that of others."""
        of_all = "" if total is None else f"/{total}"
        self._running[suite] = f"{suite} {done}{of_all}" if done else suite
        if sys.stderr.isatty():
            text = f"{', '.join(self._running.values())}  {self._redactor.text(last)}"
            text = text[: shutil.get_terminal_size().columns - 1]
            if text != self._shown:
                click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self._shown = text


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
