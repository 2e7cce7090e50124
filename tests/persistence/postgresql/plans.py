"""Plans of statements on PostgreSQL."""

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa


def explain(connection: sa.Connection, statement: sa.Executable) -> list[dict[str, Any]]:
    """Return the nodes of the plan that PostgreSQL caches for a prepared statement with any parameters."""
    text = str(statement.compile(dialect=connection.dialect))
    parameters = ", ".join(["null"] * len(set(re.findall(r"\$\d+", text))))
    connection.execute(sa.text("set plan_cache_mode = force_generic_plan"))
    connection.execute(sa.text(f"prepare plan as {text}".replace(":", r"\:")))
    plan = connection.execute(sa.text(f"explain (format json) execute plan({parameters})")).scalar_one()
    connection.execute(sa.text("deallocate plan"))
    return list(_iterate_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def list_scans(nodes: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """Return the nodes that read a table."""
    return [node for node in nodes if node.get("Relation Name") == table and "Scan" in node["Node Type"]]


def _iterate_nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _iterate_nodes(child)
