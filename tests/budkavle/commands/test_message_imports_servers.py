"""`budkavle import web-message-sender`: users and modes of a MariaDB, and servers that are none."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.budkavle.commands.message_imports import COMMAND, ZONE, build_id, run
from tests.budkavle.conftest import Invoke
from tests.mariadb import MariaDb, OldMessage, OldService

PASSWORD = "lösen€"


def create_user(mariadb: MariaDb, old: OldService, user: str, authentication: str) -> str:
    """Create a user who may read a database, and return the URL for it."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"create user {user}@'127.0.0.1' identified {authentication}", [PASSWORD])
        cursor.execute(f"grant select on {old.database}.* to {user}@'127.0.0.1'")
    return f"mariadb://{user}:l%C3%B6sen%E2%82%AC@{old.place}"


def test_password_may_have_any_character(sqlite_url: str, invoke: Invoke, mariadb: MariaDb, old: OldService) -> None:
    result = invoke(sqlite_url, *COMMAND, create_user(mariadb, old, "unicode", "by %s"), *ZONE)
    assert (result.exit_code, result.stderr) == (0, "")


def test_authentication_that_needs_another_package_is_an_error_that_names_it(
    sqlite_url: str, invoke: Invoke, mariadb: MariaDb, old: OldService
) -> None:
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("install soname 'auth_ed25519'")
    url = create_user(mariadb, old, "ed25519", "via ed25519 using password(%s)")
    result = invoke(sqlite_url, *COMMAND, url, *ZONE)
    assert result.exit_code == 1
    assert "'pynacl' package is required" in result.stderr
    assert PASSWORD not in result.stderr


def test_mode_of_the_server_does_not_matter(sqlite_url: str, invoke: Invoke, mariadb: MariaDb, old: OldService) -> None:
    old.put(OldMessage(build_id(1), message="å"))
    with setting(mariadb, "sql_mode", "'ORACLE,NO_BACKSLASH_ESCAPES'"):
        _, summary = run(invoke, sqlite_url, old)
    assert summary["bytes"] == 2


def test_texts_may_be_longer_than_a_packet_of_the_server(
    database_url: str, invoke: Invoke, mariadb: MariaDb, old: OldService
) -> None:
    text = "x" * 2_000_000
    old.put(OldMessage(build_id(1), message=text), OldMessage(build_id(2), message=f"{text}\0"))
    with setting(mariadb, "max_allowed_packet", "1048576"):
        remarks, summary = run(invoke, database_url, old, code=1)
    assert remarks == [{"id": build_id(2), "field": "message", "kind": "rejected", "reason": "contains U+0000"}]
    assert summary["imported"] == 1


@contextmanager
def setting(mariadb: MariaDb, name: str, value: str) -> Iterator[None]:
    """Change a global variable of the server for new connections."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"set @before = @@global.{name}; set global {name} = {value}")
        while cursor.nextset():
            pass
        try:
            yield
        finally:
            cursor.execute(f"set global {name} = @before")


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\0\0", b"\5\0\0\0\nabcd", b"\1\0\0\0\xff", b""])
def test_server_that_is_no_mariadb_is_an_error(sqlite_url: str, invoke: Invoke, greeting: bytes) -> None:
    with greeting_server(greeting) as port:
        result = invoke(sqlite_url, *COMMAND, f"mariadb://u:secret@127.0.0.1:{port}/db", *ZONE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the database of the other service cannot be read: ")


@contextmanager
def greeting_server(greeting: bytes) -> Iterator[int]:
    """Yield the port of a server that sends a greeting and closes the connection."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
