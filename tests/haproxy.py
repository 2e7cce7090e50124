"""Run a real HAProxy with TLS in front of a service, configured as docs/how-to/proxies.md says."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.nginx import block
from tests.processes import Process


@contextmanager
def haproxy_before(url: str, tls: dict[str, Path], folder: Path) -> Iterator[str]:
    """Yield the base URL of a service behind HAProxy."""
    with running_haproxy(block("haproxy"), {"127.0.0.1:8080": urlsplit(url).netloc}, tls, folder) as proxy:
        yield proxy


@contextmanager
def running_haproxy(configuration: str, places: dict[str, str], tls: dict[str, Path], folder: Path) -> Iterator[str]:
    """Yield the base URL of HAProxy with a configuration, in which `places` are replaced by those of the test."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    assert tls["tls_cert"] == tls["tls_key"], "HAProxy reads certificate and key from one file"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        places = places | {
            # HAProxy inherits the listening socket, so the test need not wait for it.
            "bind :443 ": f"bind fd@{listener.fileno()} ",
            "/etc/haproxy/service.pem": str(tls["tls_cert"]),
            "/etc/haproxy/clients-ca.pem": str(tls["client_ca"]),
        }
        for written, here in places.items():
            assert written in configuration
            configuration = configuration.replace(written, here)
        (folder / "haproxy.cfg").write_text(configuration)
        arguments = [haproxy, "-db", "-f", str(folder / "haproxy.cfg")]
        process = Process(arguments, dict(os.environ), fds=(listener.fileno(),))
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        process.end()
        process.show()
