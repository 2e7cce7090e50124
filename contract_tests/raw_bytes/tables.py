"""Convert tables of attacks to parameters of a check."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def cases(table: Mapping[str, Any], *, own: Collection[str]) -> list[Any]:
    """Return a parameter for each entry. `own` are the names of cases that only our service must reject."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), id=name, marks=[pytest.mark.own] if name in own else []
        )
        for name, value in table.items()
    ]
