"""A PostgreSQL that requires TLS and passwords, which the shared server of the tests cannot."""

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from persistence.database import Database
from persistence.opening import open_database
from persistence.waits import Waits
from persistence.work import short_read
from tests.certificates import Authority
from tests.postgresql_cluster import Cluster, clusters, find_debian_programs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(find_debian_programs() is None, reason="the Debian package postgresql is not installed"),
]

PASSWORD = "the-password-of-the-tests"  # No secret: the server exists only for the tests.
SOON = Waits(pool_timeout=0.1)
ACCESS = """
hostssl all by_certificate 127.0.0.1/32 cert
hostssl all by_password 127.0.0.1/32 scram-sha-256
hostssl all postgres 127.0.0.1/32 trust
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def cluster(authority: Authority) -> Iterator[Cluster]:
    with clusters(find_debian_programs()) as new:
        cluster = new()
        cluster.create("ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'")
        cluster.configure("ssl_ca_file = 'clients.pem'")
        _give(cluster, authority.issue("localhost").file, "server.pem")
        _give(cluster, authority.file, "clients.pem")
        cluster.start()
        cluster.create_migrated("service")
        for role, login in (("by_password", f"login password '{PASSWORD}'"), ("by_certificate", "login")):
            cluster.execute(f"create role {role} {login} in role pg_read_all_data")
        (cluster.folder / "pg_hba.conf").write_text(ACCESS)
        cluster.restart()
        yield cluster


def _give(cluster: Cluster, file: Path, name: str) -> None:
    """Copy a file to the server, readable by its account alone."""
    there = Path(shutil.copy(file, cluster.folder / name))
    there.chmod(0o600)
    if os.geteuid() == 0:
        account = pwd.getpwnam(cluster.folder.owner())
        os.chown(there, account.pw_uid, account.pw_gid)


def build_url(cluster: Cluster, authority: Authority, role: str = "by_password", host: str = "localhost") -> str:
    return f"postgresql://{role}@{host}:{cluster.port}/service?sslrootcert={authority.file}&sslmode=verify-full"


@contextmanager
def failing() -> Iterator[list[str]]:
    """Yield the explanations for operators."""
    explanations: list[str] = []
    with pytest.raises(StorageFailed) as caught:
        yield explanations
    explanations.append(caught.value.explanation)


async def role_over_tls(database: Database) -> tuple[str, bool]:
    @short_read
    def read(connection: sa.Connection) -> tuple[str, bool]:
        text = "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()"
        name, is_encrypted = connection.execute(sa.text(text)).one()
        return str(name), bool(is_encrypted)

    try:
        return await database.read(read)
    finally:
        await database.close()


async def test_password_is_read_from_the_url_and_from_a_file(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"localhost:{cluster.port}:*:by_password:{PASSWORD}\n")
    file.chmod(0o600)
    valid_url = build_url(cluster, authority)
    for case in (valid_url.replace("@", f":{PASSWORD}@"), f"{valid_url}&passfile={file}"):
        assert await role_over_tls(open_database(case, SOON)) == ("by_password", True)


async def test_client_certificate_is_sent(cluster: Cluster, authority: Authority) -> None:
    shown = authority.issue(common_name="by_certificate").file
    shown.chmod(0o600)
    case = f"{build_url(cluster, authority, 'by_certificate')}&sslcert={shown}&sslkey={shown}"
    assert await role_over_tls(open_database(case, SOON)) == ("by_certificate", True)


async def test_faults_of_tls_and_password_are_explained(cluster: Cluster, authority: Authority, tmp_path: Path) -> None:
    valid_url = build_url(cluster, authority).replace("@", f":{PASSWORD}@")
    stranger = Authority(tmp_path, "stranger").file
    cases = {
        valid_url.replace(PASSWORD, "wrong"): "the server rejects the password of role by_password",
        valid_url.replace("verify-full", "disable"): "the server does not admit role by_password",
        valid_url.replace(str(authority.file), str(stranger)): "its certificate is not accepted",
        valid_url.replace("localhost", "127.0.0.1"): "its certificate is not accepted",
        valid_url.replace(f"sslrootcert={authority.file}&", ""): "add sslrootcert to BUDKAVLE_DATABASE_URL",
    }
    for case, explanation in cases.items():
        database = open_database(case, SOON)
        with failing() as found:
            await role_over_tls(database)
        assert explanation in found[0], case
        assert PASSWORD not in found[0]
