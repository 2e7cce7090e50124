"""Types of options that several commands take."""

import uuid
from datetime import datetime
from typing import Any

import click

from domain.subscriptions import COPENHAGEN


class Moment(click.ParamType[datetime]):
    """A time; without an offset it is Copenhagen's."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time as an aware datetime."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-01, 2026-03-01T12:00 or 2026-03-01T12:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=COPENHAGEN)


class Id(click.ParamType[str]):
    """A UUID, in lower case."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id as it is stored."""
        try:
            return str(uuid.UUID(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a UUID", param, ctx)
