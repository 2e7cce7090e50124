"""Types of options that several commands use."""

import os
import uuid
from datetime import datetime
from typing import Any

import click

from domain.subscriptions import COPENHAGEN

MAX_PROCESSES = 256


class Moment(click.ParamType[datetime]):
    """A time; without an offset it is Copenhagen time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time as an aware datetime."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-01, 2026-03-01T12:00 or 2026-03-01T12:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=COPENHAGEN)


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
