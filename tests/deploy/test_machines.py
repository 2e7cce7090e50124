"""What tests do on a copy of this machine does not reach this machine."""

import sys
import tempfile
from pathlib import Path

import pytest

from tests.deploy.machines import running_machine
from tests.processes import REPOSITORY

NAME = "written-by-a-test-of-budkavle"


def test_no_file_of_the_machine_is_written_here(tmp_path: Path) -> None:
    """The Python of a distribution is in /usr: a machine that shares this folder would change the real programs."""
    with running_machine(tmp_path) as machine:
        for folder in ("/", "/usr/local/sbin", "/etc", REPOSITORY, sys.prefix, sys.base_prefix):
            path = Path(folder) / NAME
            try:
                machine.run(f"mkdir -p '{folder}'; echo x > '{path}'")
                assert not path.exists(), path
            finally:
                path.unlink(missing_ok=True)


@pytest.mark.parametrize("parent", ["/tmp", "/dev/shm"])
def test_checkout_below_a_temporary_folder_is_visible(
    parent: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("machine")
    with tempfile.TemporaryDirectory(dir=parent) as checkout:
        Path(checkout, "file").write_text("here")
        monkeypatch.setattr("tests.deploy.machines.REPOSITORY", Path(checkout))
        with running_machine(folder) as machine:
            assert machine.run(f"cat '{checkout}/file'") == "here"
            machine.run(f"echo there > '{checkout}/file'")
        assert Path(checkout, "file").read_text() == "here"
