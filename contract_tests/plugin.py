"""pytest plugin for suites that run against other targets than ours: fixtures, timeouts and the report of failures."""

import ast
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from _pytest._code import code

pytest.register_assert_rewrite("contract_tests.attacks", "contract_tests.unwanted_data", "contract_tests.api")

from contract_tests import evidence, reproducing  # noqa: E402  # Their assertions are rewritten only from here on.
from contract_tests.fixtures import *  # noqa: E402, F403  # The checks use the fixtures of the suites.
from contract_tests.reading import MALFORMED  # noqa: E402
from contract_tests.target import CheckTarget  # noqa: E402
from contract_tests.unwanted_data import find_unwanted_data  # noqa: E402

_found: list[Any] = []
evidence.end_after_next_response()

_SECONDS = 600
"""Maximum seconds per check: a response that arrives byte by byte has no other limit."""
_UNANSWERED = 3
"""Consecutive checks without a response after which the suite ends, because each further one would time out."""


def _get_line_range(lineno: int, _source: object, **_: object) -> tuple[ast.AST, int, int]:
    """Return no tree, and the range of a line, which is all that short tracebacks show of its statement.

    pytest parses the whole file of each traceback entry to find the range, which takes longer than most checks.
    """
    return ast.Pass(), lineno, lineno + 1


code.getstatementrange_ast = _get_line_range  # type: ignore[attr-defined,assignment]


class NoResponseError(AssertionError):
    """The server did not answer."""


class CheckFaultError(Exception):
    """The check itself failed, so its result is unknown."""


_unanswered: list[str] = []


@pytest.fixture(scope="session")
def target() -> CheckTarget:
    """Return the target that this process was started for."""
    target = CheckTarget.from_environment()
    assert target is not None
    return target


@pytest.fixture(autouse=True)
def _assert_no_unwanted_data(request: pytest.FixtureRequest, sent: list[object]) -> Iterator[None]:
    """Assert after each raw attack that nothing was stored that must have been rejected."""
    yield
    if "raw_bytes" not in request.path.parts:
        return
    before = list(sent)
    unwanted = [item for item in find_unwanted_data(request.getfixturevalue("target")) if item not in _found]
    # Remove the requests of the search itself from the record of the check.
    sent[:] = before
    _found.extend(unwanted)
    assert unwanted == [], "data was stored that must have been rejected"


def pytest_collection_finish(session: pytest.Session) -> None:
    evidence.append_to_run_record("total", str(len(session.items)))


def pytest_runtest_logfinish(nodeid: str) -> None:
    evidence.append_to_run_record("did", nodeid.rsplit("::", 1)[-1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Apply the timeout and error texts to fixtures, which also call the target."""
    with _explain_errors():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Apply the timeout, and explain errors that are caused by a response in an invalid form."""
    with _explain_errors():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Apply the timeout and error texts to the search after an attack, which also parses responses."""
    with _explain_errors():
        return (yield)


@contextmanager
def _explain_errors() -> Iterator[None]:
    def end(*_: object) -> None:
        raise NoResponseError(f"the check had no end after {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_SECONDS)
    try:
        yield
    except requests.JSONDecodeError as exc:
        raise AssertionError(f"the response is not JSON in UTF-8: {exc}: {exc.doc[:200]!r}") from exc
    except (requests.RequestException, OSError, EOFError) as exc:
        raise NoResponseError(f"no answer: {exc}") from exc
    except MALFORMED as exc:
        raise AssertionError(f"a response does not have the form of the contract: {type(exc).__name__}: {exc}") from exc
    except AssertionError:
        raise
    except Exception as exc:
        raise CheckFaultError(f"{type(exc).__name__}: {exc}") from exc
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add commands that reproduce a failure to its report. Stop the suite when the target no longer responds."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, NoResponseError):
        _unanswered.append(item.name)
        if len(_unanswered) >= _UNANSWERED:
            item.session.shouldstop = f"{_UNANSWERED} checks in a row got no answer"
    elif call.when == "call" and not report.skipped:
        _unanswered.clear()
    sent = getattr(item, "funcargs", {}).get("sent")
    add_section = getattr(report.longrepr, "addsection", None)
    if report.failed and sent and add_section is not None and (target := CheckTarget.from_environment()) is not None:
        lines = reproducing.format_commands(sent, target, item.name, Path(os.environ[evidence.FOLDER]))
        add_section(reproducing.TITLE, "\n".join(lines))
    return report
