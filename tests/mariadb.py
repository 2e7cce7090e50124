"""Run a real MariaDB, and fill it as WebMessageSender 3.2 does."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest

from openapi.server.serving import listen
from tests.certificates import Authority
from tests.processes import Process
from tests.waiting import block_until

READER, PASSWORD = "budkavle", "p@ss/word"

_TABLES = """
create table web_message (
    id varchar(255) not null primary key, municipality_id varchar(255), oep_instance varchar(255),
    party_id varchar(255), sender_user_id varchar(255), created datetime(6), oep_message_id integer, message longtext
) engine=InnoDB;
create table external_reference (
    id varchar(255) not null primary key, parent_id varchar(255) not null,
    ref_key varchar(1000), ref_value varchar(1000),
    unique key uq_external_reference (ref_key(200), ref_value(200), parent_id),
    constraint fk_external_reference_web_message foreign key (parent_id) references web_message (id) on delete cascade
) engine=InnoDB;
create table attachment (
    id varchar(255) not null primary key, parent_id varchar(255) not null, file_name varchar(255),
    mime_type varchar(255), file longblob,
    constraint fk_attachment_web_message foreign key (parent_id) references web_message (id) on delete cascade
) engine=InnoDB;
create table flyway_schema_history (installed_rank int not null primary key, version varchar(50)) engine=InnoDB;
"""
"""The tables of version 3.2. Texts of references are longer, so that no trap is missing."""


class MariaDb:
    """A server on its own port. Its administrator is `root`, without a password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = Authority(folder)
        self._certificate = self.authority.issue("127.0.0.1").file
        with listen("127.0.0.1", 0) as listener:
            self.port: int = listener.getsockname()[1]
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        result = subprocess.run(
            [
                _find_program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={folder}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                f"--user={self._user}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def start(self) -> Process:
        """Start it; return when it accepts connections."""
        process = Process(
            [
                _find_program("mariadbd"),
                "--no-defaults",
                f"--datadir={self._folder}/data",
                f"--socket={self._folder}/socket",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--user={self._user}",
                "--innodb-flush-log-at-trx-commit=0",
                "--max-allowed-packet=64M",
                "--log-error=",
                f"--ssl-cert={self._certificate}",
                f"--ssl-key={self._certificate}",
            ],
            dict(os.environ),
        )
        block_until(lambda: not process.is_running or self._accepts())
        assert process.is_running, "MariaDB ended before it accepted connections"
        return process

    def _accepts(self) -> bool:
        with suppress(pymysql.MySQLError, OSError):
            self.connect().close()
            return True
        return False

    def connect(self, database: str | None = None) -> "pymysql.Connection[Any]":
        """Return a connection of the administrator that commits each statement."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )

    def create(self, collation: str = "utf8mb4_general_ci") -> "OldService":
        """Create a database of the old service, and the user who may read it."""
        database = f"wms_{uuid.uuid4().hex}"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"create database {database} character set utf8mb4 collate {collation}")
            cursor.execute(f"create user if not exists {READER}@'127.0.0.1' identified by %s", [PASSWORD])
            cursor.execute(f"grant select on {database}.* to {READER}@'127.0.0.1'")
        service = OldService(self, database)
        service.execute_script(_TABLES)
        return service


def _find_program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("mariadb-server is not installed")
    return found


@contextmanager
def running_mariadb() -> Iterator[MariaDb]:
    """Run a server until the end of the context."""
    folder = Path(tempfile.mkdtemp(prefix="budkavle-"))
    try:
        server = MariaDb(folder)
        process = server.start()
        try:
            yield server
        finally:
            process.end()
            process.show()
    finally:
        shutil.rmtree(folder)


@dataclass
class OldMessage:
    """A message of the old service. `references` are keys and values, `files` are name, media type and content."""

    id: str
    municipality_id: str | None = "2281"
    oep_instance: str | None = "EXTERNAL"
    party_id: str | None = "81471222-5798-11e9-ae24-57fa13b361e1"
    sender_user_id: str | None = "joe01doe"
    created: str | None = "2024-05-17 10:11:12.123456"
    oep_message_id: int | None = 17
    message: str | None = "Hej! Ditt ärende är klart. 🎉"
    references: Sequence[tuple[str | None, str | None]] = (("flowInstanceId", "1068"), ("errandNumber", "A-17"))
    files: Sequence[tuple[str | None, str | None, bytes | None]] = field(default=())


class OldService:
    """The database of the old service."""

    def __init__(self, server: MariaDb, database: str) -> None:
        self._server = server
        self.database = database

    @property
    def url(self) -> str:
        """The URL for the user who may only read."""
        return f"mariadb://{READER}:{PASSWORD.replace('@', '%40').replace('/', '%2F')}@{self.place}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.port}/{self.database}"

    def connect(self) -> "pymysql.Connection[Any]":
        return self._server.connect(self.database)

    def execute_script(self, script: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(script)
            while cursor.nextset():
                pass

    def put(self, *messages: OldMessage) -> None:
        """Store messages as the old service does, each in a transaction."""
        with self.connect() as connection, connection.cursor() as cursor:
            for message in messages:
                insert(cursor, message)

    def delete(self, message_id: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("delete from web_message where id = %s", [message_id])


def insert(cursor: Any, message: OldMessage) -> None:
    """Insert the rows of a message."""
    cursor.execute("set session sql_mode = ''; start transaction")
    while cursor.nextset():
        pass
    cursor.execute(
        "insert into web_message values (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            message.id,
            message.municipality_id,
            message.oep_instance,
            message.party_id,
            message.sender_user_id,
            message.created,
            message.oep_message_id,
            message.message,
        ],
    )
    for number, (key, value) in enumerate(message.references):
        cursor.execute(
            "insert into external_reference values (%s, %s, %s, %s)",
            [f"{message.id}-{number:03}", message.id, key, value],
        )
    for number, (name, media_type, content) in enumerate(message.files):
        cursor.execute(
            "insert into attachment values (%s, %s, %s, %s, %s)",
            [f"{message.id}-{number:03}", message.id, name, media_type, content],
        )
    cursor.execute("commit")
