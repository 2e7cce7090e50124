"""Conditions of an instance that no single call causes: its clock, its time zone, late messages, ids of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mock_open_e.behaviour.orders import is_integer

LONGEST_SECONDS = 86_400
MOST_TAKEN_IDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one instance; the defaults are those of an ideal server.

    - `clock_seconds`: how far the clock of the server is ahead; negative if it is behind. It decides times that the
      server sets itself: those of files, and of events and planted messages without a time of their own. The time of a
      message is always the time that its sender gave.
    - `time_zone`: an IANA name. The messageapi shows and compares times in this zone, as real servers do, and events
      have its offset. With None it shows and compares times as they were sent.
    - `stale_seconds`: the messageapi returns a message only when it was stored this long ago.
    - `taken_ids`: how many messageIDs other senders take before each message.
    """

    clock_seconds: float = 0.0
    time_zone: str | None = None
    stale_seconds: float = 0.0
    taken_ids: int = 0

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ValueError("invalid conditions: " + "; ".join(faults))

    def _faults(self) -> Iterator[str]:
        if not (_is_number(self.clock_seconds) and abs(self.clock_seconds) <= LONGEST_SECONDS):
            yield (
                f"clock_seconds must be a number from -{LONGEST_SECONDS} to {LONGEST_SECONDS}, "
                f"not {self.clock_seconds!r}"
            )
        if self.time_zone is not None and not is_time_zone(self.time_zone):
            yield (
                "time_zone must be an IANA time zone that this machine knows, such as 'Europe/Stockholm', "
                f"or None, not {self.time_zone!r}"
            )
        if not (_is_number(self.stale_seconds) and 0 <= self.stale_seconds <= LONGEST_SECONDS):
            yield f"stale_seconds must be a number from 0 to {LONGEST_SECONDS}, not {self.stale_seconds!r}"
        if not (is_integer(self.taken_ids) and 0 <= self.taken_ids <= MOST_TAKEN_IDS):
            yield f"taken_ids must be an integer from 0 to {MOST_TAKEN_IDS}, not {self.taken_ids!r}"

    def compute_server_time(self, now: datetime) -> datetime:
        """Return the time that the clock of the server shows at `now`."""
        return self._localise(now + timedelta(seconds=self.clock_seconds))

    def format_minute(self, moment: datetime) -> str:
        """Return an aware time in the format of the messageapi: minutes, without a time zone."""
        return f"{self._localise(moment):%Y-%m-%d %H:%M}"

    def convert_to_minute(self, added: str) -> str:
        """Return the time of a message, an xs:dateTime, in the format of the messageapi."""
        if self.time_zone is not None:
            try:
                moment = datetime.fromisoformat(added)
                if moment.tzinfo is not None:
                    return self.format_minute(moment)
            except (ValueError, OverflowError):
                # Python does not parse some valid values, such as 24:00:00, nor convert those of the year 1.
                pass
        return f"{added[:10]} {added[11:16] if added[10:11] == 'T' else '00:00'}"

    def is_visible(self, stored: datetime, now: datetime) -> bool:
        """Return whether the messageapi returns a message that was stored at that time."""
        return stored + timedelta(seconds=self.stale_seconds) <= now

    def _localise(self, moment: datetime) -> datetime:
        return moment if self.time_zone is None else moment.astimezone(ZoneInfo(self.time_zone))


def is_time_zone(name: Any) -> bool:
    """Return whether this machine knows the time zone."""
    try:
        ZoneInfo(name)
    except (TypeError, ValueError, OSError, LookupError):
        # ZoneInfo raises different errors for unknown names, paths, folders and other types.
        return False
    return True


def _is_number(value: Any) -> bool:
    return is_integer(value) or isinstance(value, float)
