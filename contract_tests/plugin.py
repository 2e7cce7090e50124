"""What pytest is told when it runs a suite on somebody's target: the target, and how failures are told."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("contract_tests.attacks", "contract_tests.harm", "contract_tests.api")

from contract_tests import evidence, reproducing  # noqa: E402  # Their assertions are rewritten only from here on.
from contract_tests.fixtures import *  # noqa: E402, F403  # The checks use the fixtures of the suites.
from contract_tests.harm import find_harm  # noqa: E402
from contract_tests.target import Target  # noqa: E402

_found: list[Any] = []
evidence.end_with_an_answer()


@pytest.fixture(scope="session")
def target() -> Target:
    """The target that this process was started for."""
    target = Target.of_environment()
    assert target is not None
    return target


@pytest.fixture(autouse=True)
def _target_stays_unharmed(request: pytest.FixtureRequest, sent: list[object]) -> Iterator[None]:
    """After each attack in bytes: nothing is there that must have been refused."""
    yield
    if "raw_bytes" not in request.path.parts:
        return
    before = list(sent)
    harm = [item for item in find_harm(request.getfixturevalue("target")) if item not in _found]
    # What looked for it is not what did it.
    sent[:] = before
    _found.extend(harm)
    assert harm == [], "something is there that must have been refused"


def pytest_collection_finish(session: pytest.Session) -> None:
    evidence.note("total", str(len(session.items)))


def pytest_runtest_logfinish(nodeid: str) -> None:
    evidence.note("did", nodeid.rsplit("::", 1)[-1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failure how it is reproduced."""
    report = yield
    sent = getattr(item, "funcargs", {}).get("sent")
    add_section = getattr(report.longrepr, "addsection", None)
    target = Target.of_environment()
    if report.failed and sent and add_section is not None and target is not None:
        lines = reproducing.lines(sent, target, item.name, Path(os.environ[evidence.FOLDER]))
        add_section(reproducing.TITLE, "\n".join(lines))
    return report
