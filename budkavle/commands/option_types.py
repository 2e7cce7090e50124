"""Options that several commands use, and their types."""

import os
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from domain.callers import parse_scope
from domain.subscriptions import COPENHAGEN, Identity

F = TypeVar("F", bound=Callable[..., Any])

MAX_PROCESSES = 256
MAX_DAYS = 1826
"""Five years. A year such as 2027 must not pass for a number of days."""


class Moment(click.ParamType[timedelta | datetime]):
    """A time, or a duration from the present: 90s, 30m, 2h, 3d or 1w. Without an offset it is Copenhagen time."""

    name = "time|duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        """Return a duration, or a time as an aware datetime. The databases store it in UTC, in the years 1 to 9999."""
        if isinstance(value, timedelta | datetime):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            return self._convert_time(value, param, ctx)
        number, unit = int(match[1]), _UNITS[match[2]]
        if not 0 < number <= timedelta(days=MAX_DAYS) // unit:
            self.fail(f"{value!r} must be longer than 0 and at most {MAX_DAYS} days", param, ctx)
        return number * unit

    def _convert_time(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
            aware = moment if moment.tzinfo else moment.replace(tzinfo=COPENHAGEN)
            utc = aware.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time such as 2026-03-01, 2026-03-01T12:00 or 2026-03-01T12:00Z, "
                "or a duration such as 30m, 2h, 3d or 1w",
                param,
                ctx,
            )
        if moment.tzinfo is None and utc.astimezone(COPENHAGEN).replace(tzinfo=None) != moment:
            self.fail(f"{value!r} does not exist in Copenhagen, where it is skipped as summer time begins", param, ctx)
        return aware


class Expiry(Moment):
    """A number of days, or a time or duration as `Moment`."""

    name = "days|time|duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        """Return the duration, or the time as an aware datetime."""
        text = str(value)
        if not text.isdecimal():
            return super().convert(value, param, ctx)
        if len(text) > len(str(MAX_DAYS)) or not 1 <= int(text) <= MAX_DAYS:
            self.fail(f"{value!r} is neither a number of days from 1 to {MAX_DAYS} nor a time", param, ctx)
        return timedelta(days=int(text))


_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)


def past_option(name: str, explanation: str, *, required: bool = False) -> Callable[[F], F]:
    """Add an option for a time in the past. A duration counts back from now, by the clock of this machine."""
    return click.option(
        name,
        type=Moment(),
        callback=_count_back,
        required=required,
        help=f"{explanation} 1h or 7d counts back from now; a time without an offset is Copenhagen time.",
    )


def _count_back(
    _context: click.Context, _parameter: click.Parameter, value: timedelta | datetime | None
) -> datetime | None:
    if not isinstance(value, timedelta):
        return value
    from budkavle.clock import now

    return now() - value


class SubscriptionIdentity(click.ParamType[Identity]):
    """The identity of a subscription within its system: orgType, orgCode and entityType, separated by slashes."""

    name = "orgType/orgCode/entityType"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Identity:
        """Return the identity."""
        match = _IDENTITY.fullmatch(str(value))
        if match is None or max(map(int, match.groups())) > MAX_INTEGER:
            self.fail(f"{value!r} is not orgType/orgCode/entityType, such as 1/101/202", param, ctx)
        return Identity(*map(int, match.groups()))


_IDENTITY = re.compile(r"([0-9]{1,10})/(-?[0-9]{1,10})/([0-9]{1,10})", re.ASCII)
MAX_INTEGER = 2**31 - 1


class Scope(click.ParamType[str]):
    """A scope of an API key."""

    name = "scope"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the scope as it is stored."""
        text = str(value)
        try:
            parse_scope(text)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
        return text


class Id(click.ParamType[str]):
    """A UUID, converted to lower case."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id in its stored form."""
        try:
            return str(uuid.UUID(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a UUID", param, ctx)


class ProcessCount(click.ParamType[int]):
    """A number of processes, or `auto` for one per core that this process may use."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        text = str(value)
        if text == "auto":
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if not text.isdecimal() or not 1 <= int(text) <= MAX_PROCESSES:
            self.fail(f"{value!r} is neither `auto` nor a number from 1 to {MAX_PROCESSES}", param, ctx)
        return int(text)


_SERVICE_OPTIONS = (
    click.option("--host", help="Instead of BUDKAVLE_HOST."),
    click.option("--port", type=int, help="Instead of BUDKAVLE_PORT; 0 selects a free port."),
    click.option("--tls-cert", metavar="FILE", help="Instead of BUDKAVLE_TLS_CERT."),
    click.option("--tls-key", metavar="FILE", help="Instead of BUDKAVLE_TLS_KEY."),
    click.option("--client-ca", metavar="FILE", help="Instead of BUDKAVLE_CLIENT_CA."),
)


def service_options(function: F) -> F:
    """Add the options that replace settings of the service."""
    for option in reversed(_SERVICE_OPTIONS):
        function = option(function)
    return function
