"""Which suites of a check run concurrently, and how they end."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from contract_tests.check import _Stage
from contract_tests.suites import Check, Suite, plan_lanes
from contract_tests.target import CheckTarget
from contract_tests.verdict import SuiteResult
from tests.waiting import block_until

PASSED = '<testsuites><testsuite><testcase name="test_a"/></testsuite></testsuites>'
FAILED = PASSED.replace("/></testsuite>", '><failure message="no">E no</failure></testcase></testsuite>')


@pytest.fixture
def check(tmp_path: Path) -> Check:
    report = tmp_path / "report"
    report.mkdir()
    return Check(CheckTarget("http://127.0.0.1:1", api_key="k"), tmp_path, report)


class Process:
    """A suite that ends when the test releases it, or when it is terminated."""

    def __init__(self, code: int | None) -> None:
        self._ended = threading.Event()
        self.code = code
        if code is not None:
            self._ended.set()

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("suite", timeout or 0)
        return self.code or 0

    def terminate(self) -> None:
        self.code = -15
        self._ended.set()

    kill = terminate


def start_with(begin: Callable[[Path], Process]) -> Any:
    @contextmanager
    def start(_command: Sequence[str], environment: Mapping[str, str], _log: IO[bytes]) -> Iterator[Process]:
        yield begin(Path(environment["BUDKAVLE_CONTRACT_RUN_RECORD"]))

    return start


def list_names(stages: list[list[list[Suite]]]) -> list[list[list[str]]]:
    return [[[suite.name for suite in lane] for lane in lanes] for lanes in stages]


def test_only_one_lane_uses_the_subscriptions_of_the_system(check: Check, tmp_path: Path) -> None:
    stages = plan_lanes(replace(check, profile="full"), tmp_path)
    assert list_names(stages) == [
        [
            ["rules of web-messages", "schema of web-messages"],
            ["rules of subscriptions", "schema of subscriptions"],
        ],
        [["raw bytes"]],
    ]
    for lanes in stages:
        assert sum(any(suite.uses_system for suite in lane) for lane in lanes) <= 1
    suites = [suite for lanes in stages for lane in lanes for suite in lane]
    assert len({suite.run_record for suite in suites}) == len({suite.junit for suite in suites}) == 5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"specs": ("subscriptions",)}, [[["rules of subscriptions", "schema of subscriptions"]], []]),
        ({"kinds": ("schema",)}, [[["schema of web-messages"], ["schema of subscriptions"]], []]),
        ({"kinds": ("rules",), "only": ("test_receipts.py::test_a",)}, [[["rules of subscriptions"]], []]),
    ],
)
def test_options_choose_suites(check: Check, tmp_path: Path, values: dict[str, Any], expected: Any) -> None:
    assert list_names(plan_lanes(replace(check, **values), tmp_path)) == expected


def test_no_result_is_lost_if_all_lanes_have_ended_before_it_is_taken(check: Check, tmp_path: Path) -> None:
    def begin(record: Path) -> Process:
        (check.report / f"{record.stem}.xml").write_text(PASSED)
        return Process(0)

    check = replace(check, start=start_with(begin))
    stage = _Stage(check, plan_lanes(check, tmp_path)[0])
    events = stage.run()
    taken = [next(events)]
    # Three results and the ends of two lanes.
    block_until(lambda: stage._events.qsize() == 5)
    taken += events
    assert [event.checks for event in taken if isinstance(event, SuiteResult)] == [1] * 4


def test_lanes_run_concurrently_and_the_suites_of_a_lane_one_after_the_other(check: Check, tmp_path: Path) -> None:
    together, begun = threading.Barrier(2), list[str]()

    def begin(record: Path) -> Process:
        begun.append(record.stem)
        # It raises an error if the other lane does not begin meanwhile.
        together.wait(30)
        (check.report / f"{record.stem}.xml").write_text(PASSED)
        return Process(0)

    check = replace(check, start=start_with(begin))
    lanes = plan_lanes(check, tmp_path)[0]
    results = [event for event in _Stage(check, lanes).run() if isinstance(event, SuiteResult)]
    assert [(result.checks, result.error) for result in results] == [(1, None)] * 4
    assert {name.partition("-")[0] for name in begun[:2]} == {"rules"}


def test_first_failure_stops_the_other_lanes_with_fail_fast(check: Check, tmp_path: Path) -> None:
    endless = Process(None)
    is_running = threading.Event()

    def begin(record: Path) -> Process:
        if record.stem == "rules-subscriptions":
            is_running.set()
            return endless
        is_running.wait(30)
        (check.report / f"{record.stem}.xml").write_text(FAILED)
        return Process(1)

    check = replace(check, fail_fast=True, start=start_with(begin))
    stage = _Stage(check, plan_lanes(check, tmp_path)[0])
    results = [event for event in stage.run() if isinstance(event, SuiteResult)]
    assert [result.name for result in results] == ["rules of web-messages"]
    assert stage.is_stopped
    assert endless.code == -15


def test_fault_of_a_lane_stops_the_others_and_is_raised(check: Check, tmp_path: Path) -> None:
    endless = Process(None)
    is_running = threading.Event()

    def begin(record: Path) -> Process:
        if record.stem == "rules-subscriptions":
            is_running.set()
            return endless
        is_running.wait(30)
        raise OSError("no more processes")

    check = replace(check, start=start_with(begin))
    with pytest.raises(OSError, match="no more processes"):
        list(_Stage(check, plan_lanes(check, tmp_path)[0]).run())
    assert endless.code == -15
