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


class Moment(click.ParamType[datetime]):
    """A time; without an offset it is Copenhagen time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time as an aware datetime. The databases store it in UTC, in the years 1 to 9999."""
        try:
            moment = datetime.fromisoformat(str(value))
            aware = moment if moment.tzinfo else moment.replace(tzinfo=COPENHAGEN)
            utc = aware.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-03-01, 2026-03-01T12:00 or 2026-03-01T12:00Z", param, ctx)
        if moment.tzinfo is None and utc.astimezone(COPENHAGEN).replace(tzinfo=None) != moment:
            self.fail(f"{value!r} does not exist in Copenhagen, where it is skipped as summer time begins", param, ctx)
        return aware


class Expiry(click.ParamType[timedelta | datetime]):
    """A number of days, or a time as `Moment`."""

    name = "days or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        """Return the duration, or the time as an aware datetime."""
        text = str(value)
        if not text.isdecimal():
            return Moment().convert(value, param, ctx)
        if len(text) > len(str(MAX_DAYS)) or not 1 <= int(text) <= MAX_DAYS:
            self.fail(f"{value!r} is neither a number of days from 1 to {MAX_DAYS} nor a time", param, ctx)
        return timedelta(days=int(text))


class End(click.ParamType[timedelta | datetime]):
    """A duration such as 90s, 30m, 2h or 3d, or a time as `Moment`."""

    name = "duration or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        """Return the duration, or the time as an aware datetime."""
        match = _DURATION.fullmatch(str(value))
        if match is None:
            return Moment().convert(value, param, ctx)
        duration = int(match[1]) * _UNITS[match[2]]
        if not timedelta() < duration <= timedelta(days=MAX_DAYS):
            self.fail(f"{value!r} must be longer than 0 and at most {MAX_DAYS} days", param, ctx)
        return duration


_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


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
