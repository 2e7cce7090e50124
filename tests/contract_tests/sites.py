"""Servers to check as teams run them: `budkavle serve` behind nginx."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conftest import MESSAGES_KEY, PUBLISH_KEY
from contract_tests.target import CheckTarget, read_certificate
from domain.api_keys import ApiKey, hash_key
from persistence import api_keys
from tests.budkavle.services import running_program
from tests.catalogue_rows import put_message_types, put_system
from tests.certificates import Authority
from tests.contract_tests.checking import SYSTEM, Server
from tests.databases import run_with_database
from tests.factories import NOW
from tests.nginx import nginx_before


@dataclass(frozen=True)
class Site:
    """A server, and the files with which the check accesses it."""

    server: Server
    ca: Path
    client_key: Path

    def target(self) -> CheckTarget:
        """Return the target that the command would check with `--ca` and `--client-key`."""
        certificate = read_certificate(self.server.certificate, self.client_key)
        return replace(self.server.target(), certificate=certificate, ca=str(self.ca))


@contextmanager
def behind_nginx(
    database_url: str, open_e_url: str, folder: Path, *, services: int = 1, **nginx: Any
) -> Iterator[Site]:
    """Run the requested number of services behind nginx, which terminates TLS and forwards certificates."""
    tls, client_key = _create_certificates(database_url, folder)
    with ExitStack() as stack:
        first, *more = (
            stack.enter_context(
                running_program(database_url, trusted_proxies="127.0.0.1", log_level="error", **_open_e(open_e_url))
            ).url
            for _ in range(services)
        )
        (folder / "nginx").mkdir()
        url = stack.enter_context(nginx_before(first, tls, folder / "nginx", *more, **nginx))
        yield Site(Server(url, folder / "caller.pem", database_url), tls["client_ca"], client_key)


def _open_e(url: str) -> dict[str, str]:
    return {f"open_e_{instance}_url": f"{url}/{instance}/api/callback" for instance in ("external", "internal")}


def _create_certificates(database_url: str, folder: Path) -> tuple[dict[str, Path], Path]:
    """Return the certificates of the service and the key of the check. Store keys and a system in the database."""
    authority = Authority(folder)
    service, caller = authority.issue("127.0.0.1", "localhost"), authority.issue()
    # Certificate and key are in separate files, as CAs issue them.
    pem = caller.file.read_text()
    key = pem[: pem.index("-----BEGIN CERTIFICATE-----")]
    (folder / "caller.pem").write_text(caller.pem)
    (folder / "caller.key").write_text(key)
    put_message_types(database_url)
    put_system(database_url, SYSTEM, caller.fingerprint)
    for name, secret, scope in (("tests", MESSAGES_KEY, "messages"), ("publisher", PUBLISH_KEY, "publish")):
        stored = ApiKey(hash_key(secret.encode()), name, (scope,), NOW)
        run_with_database(database_url, lambda database, stored=stored: api_keys.create(database, stored))
    tls = {"tls_cert": service.file, "tls_key": service.file, "client_ca": authority.file}
    return tls, folder / "caller.key"
