"""Tables of attacks, as parameters of a check."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def cases(table: Mapping[str, Any], *, own: Collection[str]) -> list[Any]:
    """A case for each name. `own` are those that the makers' service refuses beyond what the contracts say."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), id=name, marks=[pytest.mark.own] if name in own else []
        )
        for name, value in table.items()
    ]
