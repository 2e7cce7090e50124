"""Several processes of the service on one port, as operators run them."""

import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import REPOSITORY, SECONDS, Process, budkavle, python, run_program, running

COUNT = 3
LINE = "Budkavle listens on "


@pytest.fixture
def service(tmp_path: Path, migrated_sqlite: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Process, str]]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    arguments = budkavle("serve", "--port", "0", "--processes", str(COUNT), "--with-worker")
    with running(*arguments, database_url=f"sqlite:///{tmp_path}/test.db", drain_seconds=0) as process:
        yield process, process.wait_for(LINE)


def list_members(process: Process) -> list[psutil.Process]:
    return [each for each in psutil.Process(process.pid).children() if each.status() != psutil.STATUS_ZOMBIE]


def wait_for_members(process: Process, url: str, but: set[int]) -> list[psutil.Process]:
    """Call the service until all processes run, none of them one of `but`."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        found = list_members(process)
        if len(found) == COUNT and not but & {each.pid for each in found}:
            return found
        is_ready(url)
    raise AssertionError("a process was not started again")


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False, verify=False, timeout=SECONDS).status_code == 200
    except httpx.TransportError:
        return False


def wait_for_log(process: Process, text: str) -> None:
    ends = time.monotonic() + SECONDS
    while not any(text in line for line in list(process.err)):
        assert time.monotonic() < ends, f"nothing logged {text}"


def count_served(url: str) -> int:
    """Return the number of calls to `/health/live` that any process reports for all."""
    text = httpx.get(f"{url}/metrics", trust_env=False, verify=False, timeout=SECONDS).text
    found = re.search(r'^budkavle_requests_total\{operation="get_health_live",status="200"\} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_processes_share_the_port_and_their_metrics(service: tuple[Process, str]) -> None:
    process, url = service
    assert len(list_members(process)) == COUNT
    for _ in range(30):
        assert httpx.get(f"{url}/health/live", trust_env=False, verify=False, timeout=SECONDS).status_code == 200
    assert [count_served(url) for _ in range(10)] == [30] * 10
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_process_that_is_killed_is_started_again(service: tuple[Process, str], tmp_path: Path) -> None:
    process, url = service
    for _ in range(20):
        httpx.get(f"{url}/health/live", trust_env=False, verify=False, timeout=SECONDS)
    killed = list_members(process)[0]
    killed.kill()
    wait_for_members(process, url, {killed.pid})
    assert [is_ready(url) for _ in range(20)] == [True] * 20
    # The counts of the process that ended are kept, in the same files.
    assert count_served(url) == 20
    names = [file.stem for file in tmp_path.glob("budkavle-metrics-*/*")]
    assert {int(name.rpartition("_")[2]) for name in names} <= set(range(COUNT + 1))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert any('"process_ended"' in line and '"code":-9' in line for line in process.err)


def test_process_is_started_again_once_descriptors_are_free(service: tuple[Process, str]) -> None:
    process, url = service
    supervisor, killed = psutil.Process(process.pid), list_members(process)[0]
    limits = supervisor.rlimit(resource.RLIMIT_NOFILE)
    supervisor.rlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    killed.kill()
    wait_for_log(process, '"process_not_started"')
    supervisor.rlimit(resource.RLIMIT_NOFILE, limits)
    wait_for_members(process, url, {killed.pid})
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_process_of_another_program_may_end(tmp_path: Path, migrated_sqlite: bytes) -> None:
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    arguments = budkavle("serve", "--port", "0", "--processes", str(COUNT))
    # `head` becomes a child of the supervisor, as processes without parents do in a container.
    shell = ("bash", "-c", 'exec 3<&0; head -n 1 <&3 & exec "$@"', "bash")
    with running(*shell, *arguments, database_url=f"sqlite:///{tmp_path}/test.db", drain_seconds=0) as process:
        url = process.wait_for(LINE)
        [other] = [each for each in psutil.Process(process.pid).children() if each.name() == "head"]
        process.write_line("")
        assert psutil.wait_procs([other], timeout=SECONDS)[1] == []
        assert is_ready(url)
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_reload_during_the_start_is_ignored(tmp_path: Path, migrated_sqlite: bytes) -> None:
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    arguments = budkavle("serve", "--port", "0", "--processes", str(COUNT))
    with running(*arguments, database_url=f"sqlite:///{tmp_path}/test.db", drain_seconds=0) as process:
        while len(list_members(process)) < COUNT:
            assert process.is_running
        process.send(signal.SIGHUP)
        assert is_ready(process.wait_for(LINE))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running(*budkavle("serve", "--port", "0", "--processes", "2"), folder=tmp_path) as process:
        while not list(tmp_path.glob("budkavle-metrics-*")):
            assert process.is_running
        process.send(number)
        assert process.wait() == 0
    assert list(tmp_path.glob("budkavle-metrics-*")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_all_processes(service: tuple[Process, str], number: signal.Signals) -> None:
    process, url = service
    found = list_members(process)
    process.send(number)
    assert process.wait() == 0
    assert psutil.wait_procs(found, timeout=SECONDS)[1] == []
    assert not is_ready(url)


SUPERVISOR = """
import signal, threading
from openapi.server.processes import Supervisor

def report_start():
    # From now on, the other thread of this process gets the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("started", flush=True)

threading.Thread(target=threading.Event().wait, daemon=True).start()
member = Supervisor(1).fork(report_start, lambda: None)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
member.report_start()
signal.sigwait({signal.SIGTERM})
"""


def test_signal_that_interrupts_no_system_call_is_forwarded() -> None:
    """A signal that arrives just before a system call does not interrupt it. Nor does one that another thread gets."""
    with running(*python(SUPERVISOR), folder=REPOSITORY) as process:
        process.wait_for("started")
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            assert process.is_running
        process.send(signal.SIGTERM)
        assert process.wait() == 0


INHERITED = {
    "blocked signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})",
    "many descriptors": """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for _ in range(1100):
    os.dup(0)
""",
}


@pytest.mark.parametrize("name", INHERITED)
def test_supervisor_works_with_what_its_parent_left(name: str) -> None:
    with running(*python(INHERITED[name] + SUPERVISOR), folder=REPOSITORY) as process:
        process.wait_for("started")
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_processes_end_with_a_supervisor_that_is_killed(service: tuple[Process, str], tmp_path: Path) -> None:
    process, url = service
    found = list_members(process)
    process.send(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert psutil.wait_procs(found, timeout=SECONDS)[1] == []
    assert not is_ready(url)
    assert list(tmp_path.glob("budkavle-metrics-*")) == []


def test_running_request_is_completed(service: tuple[Process, str]) -> None:
    process, url = service
    with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=SECONDS) as client:
        assert client.get("/health/live").status_code == 200
        process.send(signal.SIGHUP)
        assert client.get("/health/live").status_code == 200
        assert len(list_members(process)) == COUNT


def test_processes_that_cannot_start_end_the_program(tmp_path: Path) -> None:
    # PostgreSQL is not there.
    result = run_program(
        *budkavle("serve", "--port", "0", "--processes", "2"),
        database_url="postgresql://127.0.0.1:1/none",
        database_pool_timeout=0.1,
        folder=tmp_path,
    )
    assert result.returncode == 1
    assert LINE not in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("count", ["0", "-1", "many", "1000", "2.5"])
def test_number_of_processes_is_checked(count: str) -> None:
    result = run_program(*budkavle("serve", "--processes", count))
    assert result.returncode == 2
    assert "is neither `auto` nor a number from 1 to 256" in result.stderr
