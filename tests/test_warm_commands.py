"""Programs that the server of warm commands runs for a shell behave as installed ones do."""

import signal
from pathlib import Path

import pytest

from tests.processes import run_program, running
from tests.warm_commands import build_shell_command


def test_program_has_streams_environment_folder_and_umask_of_the_shell(sqlite_url: str, tmp_path: Path) -> None:
    script = """
        umask 077
        budkavle backup copy.db 2>errors
        BUDKAVLE_DATABASE_URL=unknown: budkavle migrate 2>&1 || echo "code $?"
        echo key | budkavle api-key create tests --scope messages | wc -l
        mock-open-e --help | head -n 1"""
    result = run_program(*build_shell_command(script), folder=tmp_path, database_url=sqlite_url)
    assert (result.returncode, result.stderr) == (0, "")
    _, *lines = result.stdout.splitlines()
    error = "Error: BUDKAVLE_DATABASE_URL must begin with sqlite:///PATH or postgresql://"
    assert lines == [error, "code 1", "1", "Usage: mock-open-e [OPTIONS]"]
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_program_gets_signals_and_returns_their_exit_code(number: signal.Signals, tmp_path: Path) -> None:
    with running(*build_shell_command("exec mock-open-e --port 0"), folder=tmp_path) as process:
        process.wait_for("The mock Open-E listens on ")
        process.send(number)
        assert process.wait() == (-number if number == signal.SIGKILL else 0)
        # The program, which has the other end of standard output, has ended too.
        with pytest.raises(AssertionError, match="ended before it wrote"):
            process.wait_for("anything")
