"""A service manager that waits for the start of a program gets the report when requests are served, and not before."""

import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.processes import Process, budkavle, build_environment

LISTENS = {"serve": "Budkavle listens on ", "worker": "The worker listens on "}


def start(command: tuple[str, ...], address: str, folder: Path) -> Process:
    environment = build_environment(database_url=f"sqlite:///{folder / 'test.db'}", worker_port=0, port=0)
    return Process(list(budkavle(*command)), environment | {"NOTIFY_SOCKET": address})


@pytest.mark.parametrize(
    ("command", "kind"),
    [(("serve", "--processes", "2"), "path"), (("worker",), "abstract")],
    ids=["serve-path", "worker-abstract"],
)
def test_start_is_reported_once(tmp_path: Path, command: tuple[str, ...], kind: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        if kind == "path":
            manager.bind(str(tmp_path / "notify"))
            address = str(tmp_path / "notify")
        else:
            manager.bind("")
            address = manager.getsockname().decode().replace("\0", "@")
        manager.settimeout(60)
        process = start(command, address, tmp_path)
        try:
            assert manager.recv(100) == b"READY=1"
            url = process.wait_for(LISTENS[command[0]])
            assert httpx.get(f"{url}/health/ready", trust_env=False, verify=False).status_code == 200
            manager.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.recv(100)
        finally:
            process.end()
            process.show()


def test_report_that_fails_is_logged(tmp_path: Path) -> None:
    process = start(("worker",), str(tmp_path / "missing"), tmp_path)
    try:
        process.wait_for(LISTENS["worker"])
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.end()
        process.show()
    assert '"event":"start_not_reported"' in "".join(process.err)
