"""The JWK Set of an issuer in a local file, which is read again when it changes."""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from oauth2.key_sets import MAX_BYTES, KeySet, KeySetUnusable, parse_key_set

CHECK_SECONDS = 1.0
"""Seconds between checks of the file."""

log = structlog.get_logger("budkavle.key_sets")


def read_key_set(path: Path) -> KeySet:
    """Return the keys in a file. Raises `KeySetUnusable`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise KeySetUnusable(f"The JWK Set {path} cannot be read: {exc.strerror}") from exc
    return parse_key_set(data)


class FileKeySet:
    """The keys in a file, a `KeySource`. The last good ones stay in use while the file cannot be used.

    It is read in the event loop: the file is small and local. Raises `KeySetUnusable` if there are no keys at first.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._path = path
        self._location = f"file:{path}"  # As in metrics.
        self._monotonic = monotonic
        self._signature = _read_signature(path)
        self._keys = read_key_set(path)
        self._fault: str | None = None
        self._checked = self._confirmed = monotonic()
        self._report()

    def start(self) -> None:
        """Do nothing: the file is checked when keys are needed."""

    def stop(self) -> None:
        """Do nothing."""

    def get_current(self) -> KeySet:
        """Return the keys, from a file that was checked at most `CHECK_SECONDS` ago."""
        if self._monotonic() - self._checked >= CHECK_SECONDS:
            self._check()
        return self._keys

    def get_age(self) -> float:
        """Return the seconds since the keys were those of the file, which is checked for it without callers too."""
        self.get_current()
        return self._monotonic() - self._confirmed

    def get_retry_seconds(self) -> float:
        """Return the interval of checks."""
        return CHECK_SECONDS

    async def wait_for_first(self) -> None:
        """Do nothing: there are always keys."""

    async def look_for_new_keys(self) -> None:
        """Check the file now."""
        self._check()

    def _check(self) -> None:
        self._checked = self._monotonic()
        signature = _read_signature(self._path)
        if signature != self._signature:
            # Take the signature before the content: a file that changes meanwhile is read again.
            self._signature = signature
            self._read()
        if self._fault is None:
            self._confirmed = self._checked

    def _read(self) -> None:
        try:
            self._keys = read_key_set(self._path)
        except KeySetUnusable as exc:
            self.failures += 1
            if isinstance(exc.__cause__, OSError):
                # The file may become readable without a change, for example below the limit of open files.
                self._signature = ()
            if self._fault != str(exc):
                self._fault = str(exc)
                log.error("key_set_read_failed", key_set=self._location, reason=self._fault)  # noqa: TRY400  # The reason suffices.
        else:
            self._fault = None
            self._report()

    def _report(self) -> None:
        log.info("key_set_read", key_set=self._location, keys=len(self._keys.keys))
        if self._keys.ignored:
            log.warning("keys_ignored", key_set=self._location, reasons=list(self._keys.ignored))


def _read_signature(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
