"""Workers that are killed with -9 while they deliver: a short version of the long tests."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from benchmarks.kill_workers import run_soak
from benchmarks.stage import Stage
from tests.warm_programs import ForkedProgram, is_warm


class WarmStage(Stage):
    """A stage whose workers start fast: most of the processor time of the test would be their imports."""

    def _start(self, command: Sequence[str], env: dict[str, str], folder: Path, log: IO[bytes]) -> Any:
        if not is_warm(tuple(command), env):
            return super()._start(command, env, folder, log)
        streams = [os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY), os.dup(log.fileno())]
        return ForkedProgram(command, env, folder, streams)


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_nothing_is_lost_or_reordered_when_workers_die(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Receivers are slow, fail, refuse and die; the benchmark defines the expected result.
    with WarmStage() as stage:
        assert run_soak(stage, database, 20, 5, int(time.time())) == []
    # The row has the kills: a run without one would prove nothing.
    cells = [cell.strip() for cell in capsys.readouterr().out.split("|")]
    assert int(cells[4]) > 0
