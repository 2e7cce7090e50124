"""The SQL dialects of the queue. Each statement takes one JSON document for any number of deliveries."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from persistence.tables import (
    UtcDateTime,
)

_TYPES: Mapping[str, sa.types.TypeEngine[Any]] = {
    "now": UtcDateTime(),
    "since": UtcDateTime(),
    "until": UtcDateTime(),
    "before": UtcDateTime(),
    "system_id": sa.Uuid(as_uuid=False),
    "first_system": sa.Uuid(as_uuid=False),
    "holder": sa.Text(),
    "numbers": sa.Text(),
    "rows": sa.Text(),
    "lanes": sa.Text(),
    "systems": sa.Text(),
    "targets": sa.Text(),
    "paused": sa.Text(),
    "paused_systems": sa.Text(),
    "subscription_id": sa.BigInteger(),
    "each": sa.Integer(),
    "most": sa.Integer(),
    "urgent": sa.Integer(),
    "webhook_url": sa.Text(),
    "after": UtcDateTime(),
    "limit": sa.Integer(),
}

_PARAMETER = re.compile(r":([a-z_]+)")

FRAGMENTS = {
    "sqlite": {
        "numbers": "(select value from json_each(:numbers))",
        "look_up": "",
        "is_given": "d.number in (select value from json_each(:numbers))",
        "looked_up": "",
        "due": "d.due",
        "rows": "json_each(:rows)",
        "lanes": "json_each(:lanes) as lane",
        "lane_subscription": "lane.value->>0",
        "lane_key": "lane.value->>1",
        "row_due": "value->>'due'",
        "skip_locked_held": "",
        "skip_locked_rows": "",
        "skip_locked_lanes": "",
    },
    "postgresql": {
        "numbers": "(select cast(value as bigint) from jsonb_array_elements(cast(:numbers as jsonb)) as r(value))",
        # Look each number up by itself: a plan that was made while the queue was empty reads it from its beginning.
        "look_up": """
            select held.number from jsonb_array_elements(cast(:numbers as jsonb)) as r(value) cross join lateral (
        """,
        "is_given": "d.number = cast(r.value as bigint)",
        "looked_up": "limit 1) as held",
        # No index serves a condition on an expression.
        "due": "nullif(d.due, '-infinity')",
        "rows": "jsonb_array_elements(cast(:rows as jsonb)) as r(value)",
        "lanes": "jsonb_array_elements(cast(:lanes as jsonb)) as lane(value)",
        "lane_subscription": "cast(lane.value->>0 as bigint)",
        "lane_key": "lane.value->>1",
        "row_due": "cast(value->>'due' as timestamptz)",
        "skip_locked_held": "for update of held skip locked",
        "skip_locked_rows": "for no key update skip locked",
        "skip_locked_lanes": "for update of d skip locked for no key update of s skip locked",
    },
}
"""The fragments that differ between the databases."""


def format_moment(time: datetime) -> str:
    """Return a moment as text for a JSON document: in UTC, in SQLAlchemy's format for SQLite."""
    return time.astimezone(UTC).isoformat(" ", "microseconds").removesuffix("+00:00")


def to_hex(system_id: str) -> str:
    """Return the id of a system without hyphens, as SQLite stores it."""
    return system_id.replace("-", "")


def build_statement(text: str) -> sa.TextClause:
    """Return a statement whose parameters have their types."""
    named = sorted(set(_PARAMETER.findall(text)))
    return sa.text(text).bindparams(*(sa.bindparam(name, type_=_TYPES[name]) for name in named))


def build_for_each_dialect(text: str) -> dict[str, sa.TextClause]:
    """Return the statement of each dialect from a text with the names of fragments in braces."""
    return {dialect: build_statement(text.format(**fragments)) for dialect, fragments in FRAGMENTS.items()}


IS_OF_KEY = "o.subscription_id = d.subscription_id and o.key = d.key and o.state = 'waiting'"
"""SQL condition: `o` is a waiting delivery of the same key as `d`."""

IS_AHEAD = f"{IS_OF_KEY} and o.number < d.number"
"""SQL condition: `o` is an earlier delivery of the same key as `d`."""

CAN_BE_SETTLED = """
{look_up}
    select d.number from deliveries d join subscriptions s on s.id = d.subscription_id
    where {is_given} and d.lease = :holder {skip_locked_lanes}
{looked_up}
"""
"""The numbers of the given deliveries that the holder can settle now.

The lock on the subscription covers all its keys: see `claims.let_next_go`.
"""
