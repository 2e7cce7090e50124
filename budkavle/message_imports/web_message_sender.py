"""Read the MariaDB of WebMessageSender 3.x in one snapshot, while that service may go on writing.

One connection reads everything, since its transaction is the snapshot. Texts and files are read after their sizes, a
bounded number of bytes at a time.
"""

import ssl
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.constants import CR

from domain.errors import BudkavleError
from domain.message_imports import SourceFile, SourceMessage

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 120
"""Maximum seconds without a byte from the server."""

MYSQL_PORT = 3306
_SCHEMES = {"mariadb", "mysql"}
_OPTIONS = {"socket", "tls", "tls-ca"}
_COLUMNS = {
    "web_message": {
        "id",
        "municipality_id",
        "oep_instance",
        "party_id",
        "sender_user_id",
        "created",
        "oep_message_id",
        "message",
    },
    "external_reference": {"id", "parent_id", "ref_key", "ref_value"},
    "attachment": {"id", "parent_id", "file_name", "mime_type", "file"},
}


FAILURES = (pymysql.MySQLError, OSError, RuntimeError, LookupError, ValueError, struct.error)
"""What the driver raises: a `RuntimeError` if it lacks a package, and the last three if another program answers."""


class SourceUnusable(BudkavleError):
    """The database of the other service cannot be read."""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """The address of a MariaDB. `place` is host, port and database, without user and password."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    socket: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def place(self) -> str:
        """Where the database is, for logs and the audit."""
        return f"{self.socket or f'{self.host}:{self.port}'}/{self.database}"


def parse_address(url: str) -> SourceAddress:
    """Return the address in a URL such as `mariadb://user:password@host:3306/database?tls=yes`.

    Raises `SourceUnusable`, whose message does not contain the URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise SourceUnusable(_URL) from None
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in _SCHEMES or not database or not parts.username or not options.keys() <= _OPTIONS:
        raise SourceUnusable(_URL)
    return SourceAddress(
        host=parts.hostname or "localhost",
        port=port or MYSQL_PORT,
        database=database,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        socket=options.get("socket"),
        tls=_build_tls(options),
    )


_URL = (
    "the URL must be mariadb://USER:PASSWORD@HOST:PORT/DATABASE, optionally with ?tls=yes, ?tls-ca=FILE or "
    "?socket=PATH; characters such as @ and / in the password must be percent-encoded"
)


def _build_tls(options: dict[str, str]) -> ssl.SSLContext | None:
    if "tls-ca" not in options and options.get("tls", "no") == "no":
        return None
    try:
        return ssl.create_default_context(cafile=options.get("tls-ca"))
    except OSError as exc:
        raise SourceUnusable(f"the CA in {options['tls-ca']} cannot be read") from exc


@dataclass(frozen=True, slots=True)
class Spellings:
    """References that the old service finds alike, and that are different here: their key, and how many there are.

    `field` is `ref_key` for keys, `ref_value` for values of one key.
    """

    field: str
    key: str
    number: int


class WebMessageSender:
    """The messages of the old service as they are when the connection is opened."""

    def __init__(self, connection: "pymysql.Connection[Any]") -> None:
        self._connection = connection

    def count(self) -> int:
        """Return the number of messages."""
        [[number]] = self._query("select count(*) from web_message")
        return int(number)

    def list_ids(self, after: str | None, limit: int) -> list[str]:
        """Return the ids of at most `limit` messages after an id, or the first ones, in the order of the database."""
        if after is None:
            rows = self._query("select id from web_message order by id limit %s", limit)
        else:
            rows = self._query("select id from web_message where id > %s order by id limit %s", after, limit)
        return [row[0] for row in rows]

    def find_repeated_ids(self) -> dict[str, str]:
        """Return ids that several messages have in different case: the spelling of one of them by that in lower case.

        Exact collations alone allow them. The spelling is the one that the API of the old service finds, if it exists.
        """
        return {row[0]: row[1] for row in self._query(_REPEATED_IDS)} if self._is_exact else {}

    def find_deleted(self, message_ids: Collection[str]) -> set[str]:
        """Return which of the ids, in lower case, do not exist now. Begins a new snapshot before it returns any."""
        missing = set(message_ids)
        if missing:
            missing -= self._find_ids(_IDS_IN, missing)
        if missing:
            # Another import may have stored messages that are newer than the snapshot.
            _begin_snapshot(self._connection)
            missing -= self._find_ids(_LOWER_IDS_IN if self._is_exact else _IDS_IN, missing)
        return missing

    def _find_ids(self, statement: str, message_ids: Collection[str]) -> set[str]:
        return {id_.lower() for (id_,) in self._query(statement, message_ids)}

    @cached_property
    def _is_exact(self) -> bool:
        """Whether ids that differ in case only are different."""
        [[collation]] = self._query(_COLLATION)
        return not collation.endswith("_ci")

    def read_messages(self, message_ids: Sequence[str]) -> list[SourceMessage]:
        """Return messages without their texts and the contents of their files."""
        if not message_ids:
            return []
        references: dict[str, list[tuple[str | None, str | None]]] = defaultdict(list)
        for message_id, key, value in self._query(_REFERENCES, list(message_ids)):
            references[message_id].append((key, value))
        files: dict[str, list[SourceFile]] = defaultdict(list)
        for message_id, id_, file_name, mime_type, size in self._query(_FILES, list(message_ids)):
            files[message_id].append(SourceFile(str(id_), file_name, mime_type, size))
        messages = (SourceMessage(*row) for row in self._query(_MESSAGES, list(message_ids)))
        return [replace(each, references=tuple(references[each.id]), files=tuple(files[each.id])) for each in messages]

    def read_texts(self, message_ids: Collection[str]) -> dict[str, str]:
        """Return the texts of messages by id, empty ones for null."""
        rows = self._query("select id, message from web_message where id in %s", list(message_ids))
        return {id_: text or "" for id_, text in rows}

    def read_contents(self, file_ids: Collection[str]) -> dict[str, bytes]:
        """Return the contents of files by id."""
        if not file_ids:
            return {}
        rows = self._query("select id, file from attachment where id in %s", list(file_ids))
        return {str(id_): data for id_, data in rows}

    def find_spellings(self) -> list[Spellings]:
        """Return the references that the collation of the database finds alike."""
        found = [Spellings("ref_key", key, number) for key, number in self._query(_KEY_SPELLINGS)]
        return found + [Spellings("ref_value", key, int(number)) for key, number in self._query(_VALUE_SPELLINGS)]

    def _query(self, statement: str, *parameters: Any) -> Sequence[Sequence[Any]]:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                rows: Sequence[Sequence[Any]] = cursor.fetchall()
        except FAILURES as exc:
            raise SourceUnusable(_explain(exc)) from exc
        return rows


_MESSAGES = """
    select id, municipality_id, oep_instance, party_id, sender_user_id, cast(created as char), oep_message_id,
        length(message), instr(message, x'00') > 0
    from web_message where id in %s order by id
"""
# Most collations find a `parent_id` in another case than the id of its message.
_REFERENCES = """
    select message.id, ref_key, ref_value
    from web_message as message join external_reference as reference on reference.parent_id = message.id
    where message.id in %s order by message.id, reference.id
"""
_FILES = """
    select message.id, file.id, file_name, mime_type, length(file.file)
    from web_message as message join attachment as file on file.parent_id = message.id
    where message.id in %s order by message.id, file.id
"""
_IDS_IN = "select id from web_message where id in %s"
# No index has them.
_LOWER_IDS_IN = "select id from web_message where lower(id) in %s"
_COLLATION = """
    select collation_name from information_schema.columns
    where table_schema = database() and table_name = 'web_message' and column_name = 'id'
"""
_REPEATED_IDS = """
    select lower(other.id), coalesce(max(usual.id), max(other.id))
    from web_message as other left join web_message as usual on usual.id = lower(other.id)
    where other.id <> lower(other.id) group by lower(other.id) having count(*) > 1 or max(usual.id) is not null
"""
_KEY_SPELLINGS = """
    select convert(min(binary ref_key) using utf8mb4), count(distinct binary ref_key) as spellings
    from external_reference where lower(ref_key) <> 'flowinstanceid' group by ref_key having spellings > 1 order by 1
"""
_VALUE_SPELLINGS = """
    select convert(min(spelling) using utf8mb4), count(*) from (
        select ref_key, min(binary ref_key) as spelling from external_reference
        group by ref_key, ref_value having count(distinct binary ref_value) > 1
    ) as differing group by ref_key order by 1
"""


@contextmanager
def open_web_message_sender(address: SourceAddress) -> Iterator[WebMessageSender]:
    """Yield the messages at an address, all as they are now. Raises `SourceUnusable`."""
    try:
        connection = pymysql.connect(
            host=address.host,
            port=address.port,
            unix_socket=address.socket,
            user=address.user,
            # The driver encodes a text as Latin-1.
            password=address.password.encode(),
            database=address.database,
            charset="utf8mb4",
            ssl=address.tls,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=STATEMENT_SECONDS,
            write_timeout=STATEMENT_SECONDS,
            # Some modes of a server change functions and quotes.
            sql_mode="",
            program_name="budkavle",
        )
    except FAILURES as exc:
        raise SourceUnusable(_explain(exc)) from exc
    try:
        source = WebMessageSender(connection)
        _check_tables(connection)
        _begin_snapshot(connection)
        yield source
    finally:
        with suppress(pymysql.MySQLError, OSError):
            connection.close()


def _check_tables(connection: "pymysql.Connection[Any]") -> None:
    """Raise `SourceUnusable` unless the tables are those of version 3.x, and can be read in a snapshot."""
    with _errors(), connection.cursor() as cursor:
        cursor.execute("select table_name, column_name from information_schema.columns where table_schema = database()")
        columns: dict[str, set[str]] = defaultdict(set)
        for table, column in cursor.fetchall():
            columns[table].add(column)
        missing = sorted(f"{table}.{column}" for table, names in _COLUMNS.items() for column in names - columns[table])
        if missing:
            raise SourceUnusable(f"this is not a database of WebMessageSender 3.x: {', '.join(missing)} not found")
        cursor.execute(
            "select table_name from information_schema.tables where table_schema = database() and table_name in %s "
            "and engine <> 'InnoDB'",
            [list(_COLUMNS)],
        )
        others = sorted(name for (name,) in cursor.fetchall())
        if others:
            raise SourceUnusable(f"tables without snapshots, since their engine is not InnoDB: {', '.join(others)}")


def _begin_snapshot(connection: "pymysql.Connection[Any]") -> None:
    with _errors(), connection.cursor() as cursor:
        cursor.execute("set session transaction isolation level repeatable read")
        cursor.execute("start transaction with consistent snapshot, read only")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except FAILURES as exc:
        raise SourceUnusable(_explain(exc)) from exc


def _explain(exc: Exception) -> str:
    """Return an error of the driver in one line: its number and text, which contain no password and no values."""
    is_driver_error = isinstance(exc, (pymysql.MySQLError, OSError)) and exc.args
    parts = " ".join(str(part) for part in exc.args) if is_driver_error else f"{exc} ({type(exc).__name__})"
    text = f"the database of the other service cannot be read: {parts}"
    if exc.args[:1] != (CR.CR_SERVER_LOST,):
        return text
    if isinstance(exc.__context__, TimeoutError):
        text = f"the database of the other service did not answer within {STATEMENT_SECONDS} seconds"
    return f"{text}; run the command again: it continues after the messages that are imported"
