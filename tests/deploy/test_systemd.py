"""The units of systemd and the example of their environment; `test_installed.py` runs them."""

import re
import shutil
from pathlib import Path

import pytest

from budkavle.settings import Settings
from budkavle.variables import check_variables
from tests.processes import REPOSITORY, run_program
from tests.wheels import (  # The fixtures build the wheel.
    source,  # noqa: F401
    wheel,  # noqa: F401
)

UNITS = REPOSITORY / "deploy" / "systemd"
NAMES = ("budkavle", "budkavle-worker", "budkavle-operations", "budkavle-backup")
GUIDE = "docs/how-to/install-as-a-service.md"
THRESHOLD = 15
"""The largest exposure that `systemd-analyze security` may report, in tenths: 100 is a unit without any limits."""

SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def read_unit(name: str) -> list[tuple[str, str]]:
    """Return the names and values of a unit in order."""
    return re.findall(r"^(\w+)=(.*)$", (UNITS / f"{name}.service").read_text(), re.MULTILINE)


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Return a folder with the units, whose programs exist on every machine."""
    for name in NAMES:
        text = (UNITS / f"{name}.service").read_text()
        text = re.sub("^ExecStart=[^ \n]+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
        (tmp_path / f"{name}.service").write_text(text)
        # A drop-in of all.
        (tmp_path / f"{name}.service.d").mkdir()
        shutil.copy(UNITS / "credentials.conf", tmp_path / f"{name}.service.d")
    shutil.copy(UNITS / "budkavle-backup.timer", tmp_path)
    return tmp_path


@SYSTEMD
@pytest.mark.parametrize("name", [*(f"{name}.service" for name in NAMES), "budkavle-backup.timer"])
def test_systemd_accepts_the_unit(copies: Path, name: str) -> None:
    result = run_program("systemd-analyze", "verify", "--man=no", str(copies / name))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@SYSTEMD
@pytest.mark.parametrize("name", NAMES)
def test_unit_limits_what_the_program_may_do(copies: Path, name: str) -> None:
    limit = f"--threshold={THRESHOLD}"
    result = run_program("systemd-analyze", "security", "--offline=true", limit, str(copies / f"{name}.service"))
    assert result.returncode == 0
    (exposure,) = re.findall(rf"Overall exposure level for {name}.service: ([0-9.]+)", result.stdout)
    assert f"the exposure is {exposure}." in (REPOSITORY / GUIDE).read_text()


def test_units_have_the_same_limits() -> None:
    own = {"Description", "Type", "ExecStart", "ExecReload", "KillMode", "TimeoutStopSec"}
    # A backup is started by its timer, and ends.
    own |= {"Restart", "RestartSec", "WantedBy"}
    one, *others = ([pair for pair in read_unit(name) if pair[0] not in own] for name in NAMES)
    assert others == [one] * (len(NAMES) - 1)


def test_units_allow_the_time_of_a_stop() -> None:
    defaults = Settings()
    longest = defaults.drain_seconds + defaults.shutdown_timeout + defaults.record_timeout
    for name in ("budkavle", "budkavle-worker", "budkavle-operations"):
        assert int(dict(read_unit(name))["TimeoutStopSec"]) > longest
    # With several processes, only the first must get the signal: it passes it on.
    assert dict(read_unit("budkavle"))["KillMode"] == "mixed"


def test_example_of_the_environment_has_only_settings() -> None:
    text = (UNITS / "budkavle.env").read_text()
    variables = re.findall(r"^#?(\w+)=\S+$", text, re.MULTILINE)
    assert check_variables(variables) == []
    assert len(variables) == len(re.findall(r"^#?BUDKAVLE_", text, re.MULTILINE)) >= 8
