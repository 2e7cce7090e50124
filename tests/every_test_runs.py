"""Hooks that fail a test run in which a collected test did not run.

pytest-xdist keys tests by their node id: of two tests with the same id it runs one, and reports success. So ids must be
unique, and a run that succeeds must have a report of each collected test.
"""

from collections import Counter
from typing import Any

import pytest

_collected: Counter[str] = Counter()
_reported: Counter[str] = Counter()
_STARTED = {"setup", "???"}
"""The phases of which every test that ran has one report; pytest-xdist reports the crash of a worker as `???`."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Reject node ids that occur twice. Leave that to the controller of pytest-xdist, which prints the reason."""
    if not hasattr(config, "workerinput"):
        _reject_repeated([item.nodeid for item in items])


def _reject_repeated(ids: list[str]) -> None:
    repeated = [f"{count} tests have the id {id_}" for id_, count in sorted(Counter(ids).items()) if count > 1]
    if repeated:
        raise pytest.UsageError("node ids must be unique, but " + "; ".join(repeated))


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly:
        _collected.update(item.nodeid for item in session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(ids: list[str]) -> None:
    """Keep the ids of a worker; all workers collect the same."""
    _reject_repeated(ids)
    _collected.update(Counter(ids) - _collected)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _reported.update([report.nodeid] if report.when in _STARTED else [])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Any:
    """Fail a run that would succeed although collected tests have no report."""
    result = yield
    # A worker runs only its share; the controller has the reports of all of them.
    is_worker = hasattr(session.config, "workerinput")
    missing = sorted((_collected - _reported).elements())
    if not is_worker and session.exitstatus == pytest.ExitCode.OK and missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        total = _collected.total()
        text = f"{len(missing)} of {total} collected tests did not run: {', '.join(missing[:20])}"
        terminal.write_line(text, red=True, bold=True)
    return result
