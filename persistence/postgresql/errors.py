"""Describe errors of PostgreSQL and its driver to operators: the cause and the remedy."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
import sqlalchemy as sa

from domain.errors import StorageBlocked, StorageFailed, StorageRejected, StorageUncertain
from persistence.postgresql.url import Server

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""The errors that asyncpg raises when a server or a connection fails."""

SERIALIZATION_FAILURE = "40001"
DEADLOCK = "40P01"
READ_ONLY = "25006"

CONFLICTS = frozenset({SERIALIZATION_FAILURE, DEADLOCK})
"""Other transactions prevented the work. It may succeed if it is repeated."""

_BLOCKED = CONFLICTS | {"55P03"}
"""Other transactions prevented the work for as long as it may wait."""

ENDED = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "08000", "08001", "08003", "08006", "08P01"})
"""The server or its pooler closed the session or accepts none: idle timeout, shutdown, termination."""

REJECTED = frozenset({"0A", "21", "22", "2D", "34", "42", "44", "HV", "P0"})
"""SQLSTATE classes of statements that fail on every retry: an error in our code, or in tables and rights."""

_POOLER_SQLSTATES = frozenset({"08P01", "08003"})
"""SQLSTATEs of rejections by PgBouncer. asyncpg reports the second one for a closed connection."""

STARTING = frozenset({"57P01", "57P02", "57P03", "53300"})
"""The server temporarily accepts no sessions: startup, shutdown, recovery, or no free connection."""

_EXPLANATIONS = {
    "28P01": "the server rejects the password of role {role}: correct it in BUDKAVLE_DATABASE_URL",
    "28000": "the server does not admit role {role}: create the role, or add an entry for it to pg_hba.conf",
    "3D000": "there is no database {database}: create it with encoding UTF8, then run 'budkavle migrate'",
    "42501": (
        "role {role} lacks a privilege: its own database, or USAGE and CREATE on the schema for 'budkavle migrate' and "
        "all rights on its tables"
    ),
    "3F000": "no schema of the search_path exists: create it, or correct search_path of role {role}",
    "42P01": "a table is missing: run 'budkavle migrate', or correct search_path of role {role}",
    READ_ONLY: (
        "the server is read-only: it is a standby, or default_transaction_read_only is on. Name all hosts in "
        "BUDKAVLE_DATABASE_URL, with target_session_attrs=read-write"
    ),
    "53300": "the server has no free connection: raise its max_connections, or lower BUDKAVLE_DATABASE_POOL_SIZE",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "55P03": "a lock was not free within BUDKAVLE_DATABASE_LOCK_TIMEOUT",
    "57014": "a statement took longer than BUDKAVLE_DATABASE_STATEMENT_TIMEOUT allows",
    "57P01": "the server shuts down, or an administrator ended the connection",
    "57P02": "the server restarts after a crash",
    "57P03": "the server starts, shuts down or recovers",
    "57P05": "the server ended an idle connection (idle_session_timeout)",
    "08P01": (
        "the peer rejects what PostgreSQL accepts; for a connection pooler in transaction mode add pooler=transaction "
        "to BUDKAVLE_DATABASE_URL"
    ),
    "26000": "a prepared statement is gone: for a connection pooler add pooler=transaction to BUDKAVLE_DATABASE_URL",
    "42P05": "a prepared statement exists: for a connection pooler add pooler=transaction to BUDKAVLE_DATABASE_URL",
    SERIALIZATION_FAILURE: "transactions in conflict were repeated several times without success",
    DEADLOCK: "transactions in a deadlock were repeated several times without success",
}

_POOLER_REJECTIONS = {
    "unsupported startup parameter": (
        "the connection pooler rejects the option 'options': remove it from BUDKAVLE_DATABASE_URL, and set what it "
        "says for role {role} with ALTER ROLE"
    ),
    "no such database": "the connection pooler has no database {database}: add it to its section [databases]",
    "authentication failed": (
        "the connection pooler rejects role {role} or its password: correct its auth_file or BUDKAVLE_DATABASE_URL"
    ),
}
"""PgBouncer uses one SQLSTATE for many errors; these phrases identify errors that last until a setting is corrected."""

_POOLER_FAILURES = {
    "max_client_conn": (
        "the connection pooler has no free client connection: raise its max_client_conn, or lower "
        "BUDKAVLE_DATABASE_POOL_SIZE"
    ),
    "query_wait_timeout": (
        "the connection pooler has no free server connection: raise its default_pool_size, or lower "
        "BUDKAVLE_DATABASE_POOL_SIZE"
    ),
    "server login": "the connection pooler cannot connect to the server: its log has the cause",
    "cannot connect to server": "the connection pooler cannot connect to the server: its log has the cause",
    "database system is": "the server behind the connection pooler starts, shuts down or recovers",
    "conn crashed": "the connection pooler lost its connection to the server: its log has the cause",
}
"""Phrases of PgBouncer that identify temporary errors."""


def is_rejected_by_pooler(exc: BaseException) -> bool:
    """Return whether a connection pooler rejects clients for a reason that lasts."""
    return _find_phrase(exc, _POOLER_REJECTIONS) is not None


def _find_phrase(exc: BaseException, texts: Mapping[str, str]) -> str | None:
    if (find_sqlstate(exc) or "") not in _POOLER_SQLSTATES:
        return None
    message = str(find_driver_error(exc))
    return next((text for phrase, text in texts.items() if phrase in message), None)


def find_sqlstate(exc: BaseException | None) -> str | None:
    """Return the SQLSTATE of an error's first cause, which is the one that the server reported."""
    found: str | None = None
    while exc is not None:
        found = getattr(exc, "sqlstate", None) or getattr(getattr(exc, "orig", None), "sqlstate", None) or found
        exc = exc.__cause__
    return found


def explain(exc: BaseException, server: Server) -> str:
    """Return an error's cause, server and SQLSTATE as text. It never contains a value of a statement."""
    names = {"role": server.user or "(the default)", "database": server.database or "(the default)"}
    code = find_sqlstate(exc)
    known = _find_phrase(exc, _POOLER_REJECTIONS | _POOLER_FAILURES)
    if not known and code == "08P01" and server.pooler:
        # The pooler mode is configured already, so advice to configure it would be wrong.
        known = "the connection pooler ended or refused the connection: its log has the cause"
    known = known or _EXPLANATIONS.get(code or "") or _EXPLANATIONS.get(_find_class(code))
    text = known.format(**names) if known else _explain_driver_error(find_driver_error(exc))
    if server.pooler and isinstance(find_driver_error(exc), TimeoutError):
        text += (
            "; the connection pooler may have no free server connection: raise its default_pool_size, or lower "
            "BUDKAVLE_DATABASE_POOL_SIZE"
        )
    return f"PostgreSQL at {server}: {text}" + (f" (SQLSTATE {code})" if code else "")


def describe_kind(exc: BaseException) -> str:
    """Return the class and the SQLSTATE of an error, for the log."""
    return f"{type(find_driver_error(exc)).__name__} {find_sqlstate(exc) or ''}".rstrip()


@contextmanager
def postgresql_errors(server: Server, may_have_effect: Callable[[], bool]) -> Iterator[None]:
    """Raise `StorageFailed` for all database errors except violated constraints.

    The error is `StorageUncertain` if the connection was lost while `may_have_effect` is true: the server may have
    executed the work. It is `StorageBlocked` if locks or conflicts with other transactions prevented the work.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        # The function that wrote the statement knows the meaning of its constraints.
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, *DRIVER_ERRORS) as exc:
        raise _choose_kind(exc, may_have_effect)(describe_kind(exc), explain(exc, server)) from exc


def _choose_kind(exc: BaseException, may_have_effect: Callable[[], bool]) -> type[StorageFailed]:
    code = find_sqlstate(exc) or ""
    if code[:2] in REJECTED:
        return StorageRejected
    if code in _BLOCKED:
        return StorageBlocked
    is_lost = isinstance(exc, TimeoutError) or getattr(exc, "connection_invalidated", False)
    return StorageUncertain if is_lost and may_have_effect() else StorageFailed


def _find_class(code: str | None) -> str:
    # All other errors of the authorization class concern the role.
    return "28000" if (code or "").startswith("28") else ""


def find_driver_error(exc: BaseException) -> BaseException:
    """Return the driver's own error."""
    original = getattr(exc, "orig", None) or exc
    cause = original.__cause__
    # asyncio raises a timeout from the cancellation that ended the work.
    return original if cause is None or isinstance(cause, asyncio.CancelledError) else cause


def _explain_driver_error(exc: BaseException) -> str:  # noqa: C901, PLR0911  # One for each kind of error.
    match exc:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {exc.verify_message.rstrip('.')}. See sslrootcert and sslmode"
        case ssl.SSLError():
            return f"the TLS handshake failed ({exc.reason}). See sslmode, sslcert and sslkey"
        case socket.gaierror():
            return (
                "the host name cannot be resolved: correct it, and percent-encode special characters of the password "
                "in BUDKAVLE_DATABASE_URL"
            )
        case ConnectionRefusedError():
            return "nothing accepts connections there: start the server, or correct host and port"
        case FileNotFoundError():
            return "there is no Unix socket: start the server, or correct host and port"
        case PermissionError():
            return "the operating system denies the connection"
        case sa.exc.TimeoutError():
            return "no connection of the pool became free within BUDKAVLE_DATABASE_POOL_TIMEOUT"
        case TimeoutError():
            return "no answer in time"
        case asyncpg.TargetServerAttributeNotMatched():
            return "no host matches target_session_attrs"
        case asyncpg.ClientConfigurationError() if "root certificate" in str(exc):
            return "sslmode verifies its certificate, but no CA is named: add sslrootcert to BUDKAVLE_DATABASE_URL"
        case ConnectionError() if "SSL" in str(exc):
            return "the server does not offer TLS: set sslmode, or enable TLS on the server"
        case _:
            return f"the connection failed ({type(exc).__name__})"
