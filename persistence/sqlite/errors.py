"""Translate errors of SQLite, with their causes and remedies."""

import sqlalchemy as sa

from domain.errors import StorageFailed, StorageRejected


class storage_errors:  # noqa: N801  # It is used like a function.
    """Raise `StorageFailed` for a database that is unreachable, busy for too long, full, damaged or of another version.

    Driver messages may contain data of callers, so the error has only the class of the driver's error and its code.
    This is a class, because a generator would add a microsecond to each read.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            _translate(error)


def _translate(error: BaseException) -> None:
    """Raise the error of the domain for an error of the database, and return for any other error."""
    if isinstance(error, sa.exc.IntegrityError):
        # The function that wrote the row knows the meaning of its constraints.
        return
    if isinstance(error, sa.exc.ProgrammingError | sa.exc.DataError):
        raise StorageRejected(_describe_kind(error)) from error
    if isinstance(error, sa.exc.DBAPIError | sa.exc.TimeoutError):
        # SQLite reports rejected statements as SQLITE_ERROR without an extended code.
        is_rejected = getattr(getattr(error, "orig", None), "sqlite_errorname", None) == "SQLITE_ERROR"
        raise (StorageRejected if is_rejected else StorageFailed)(_describe_kind(error), _explain(error)) from error
    if isinstance(error, OSError):
        raise StorageFailed(type(error).__name__, f"the database file cannot be used: {error.strerror}") from error


_EXPLANATIONS = {
    "SQLITE_BUSY": "another process held the write lock of the database file for too long",
    "SQLITE_CANTOPEN": "the database file cannot be opened: correct BUDKAVLE_DATABASE_URL, or the rights of its folder",
    "SQLITE_CORRUPT": "the database file is damaged: restore it from a backup",
    "SQLITE_FULL": "the disk of the database file is full",
    "SQLITE_IOERR": "the disk of the database file fails: see the log of the operating system",
    "SQLITE_NOTADB": "the file is not a SQLite database: correct BUDKAVLE_DATABASE_URL, or restore it from a backup",
    "SQLITE_READONLY": "the database file or its folder is read-only for this user",
}


def _explain(exc: sa.exc.SQLAlchemyError) -> str:
    """Return the cause of a SQLite error and its remedy, or "" if unknown."""
    name = getattr(getattr(exc, "orig", None), "sqlite_errorname", None) or ""
    # Extended codes have a third part: SQLITE_READONLY_DIRECTORY.
    explanation = _EXPLANATIONS.get("_".join(name.split("_")[:2]))
    return f"{explanation} ({name})" if explanation else ""


def _describe_kind(exc: sa.exc.SQLAlchemyError) -> str:
    original = getattr(exc, "orig", None) or exc
    driver_error = original.__cause__ or original
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(driver_error).__name__} {code or ''}".rstrip()
