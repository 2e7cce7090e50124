"""Deliberately broken receivers: each is found by its case, with a command that reproduces it."""

from pathlib import Path

import pytest

from receiver_tests.cases import SUITES
from tests.receiver_tests.broken_receivers import BROKEN
from tests.receiver_tests.broken_table import Broken
from tests.receiver_tests.checking import run_check, serving_list
from tests.receiver_tests.right_receiver import RightReceiver, serving


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_receiver_is_detected(broken: Broken, tmp_path: Path) -> None:
    receiver = broken.receiver()
    options = [option for option in broken.options if option != "--look"]
    with serving(receiver) as url, serving_list(lambda: receiver.done) as look:
        if "--look" in broken.options:
            options += ["--look", look]
        result = run_check(url, tmp_path, "--case", broken.case, *options)

    assert result.exit_code == 1
    for words in ("BREAKS the contract", f": {broken.case}\n", broken.words, "reproduce with:", "curl"):
        assert words in result.output


def test_each_case_finds_a_broken_receiver() -> None:
    cases = {case.name for suite in SUITES.values() for case in suite}
    # Broken receivers with TLS are in test_check.py.
    assert cases - {broken.case for broken in BROKEN.values()} == {"no client certificate"}


def test_right_receiver_has_no_findings(tmp_path: Path) -> None:
    receiver = RightReceiver()
    with serving(receiver) as url, serving_list(lambda: receiver.done) as look:
        result = run_check(url, tmp_path, "--look", look)
    assert result.exit_code == 0
    accepted = (tmp_path / "report" / "accepted.txt").read_text().split()
    assert sorted(accepted) == sorted(entry["id"] for entry in receiver.done)
