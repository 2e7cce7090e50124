"""Load our contracts and the published ones, to plant breaks in them."""

import json
from typing import Any

from contract_tests.compatibility import differences
from contract_tests.compatibility.guard import BASELINES
from openapi.application import read_spec
from tests.contract_tests.small_contracts import change_contract
from tests.processes import REPOSITORY


def read_contract(folder: str, name: str) -> dict[str, Any]:
    """Return a contract without YAML aliases, so that a change affects only one place."""
    loaded: dict[str, Any] = json.loads(json.dumps(read_spec(REPOSITORY / folder, name)))
    return loaded


NAMES = ("web-messages", "subscriptions", "operations", "deliveries", "mock-open-e")
OURS = {name: read_contract("spec", name) for name in NAMES}
PUBLISHED = {name: read_contract(BASELINES[0].folder, name) for name in ("web-messages", "subscriptions")}


def compare_with_published(name: str, place: str, value: Any) -> set[str]:
    """Return the findings that a change of our contract adds to its comparison with the published contract."""
    return _list_lines(PUBLISHED[name], change_contract(OURS[name], place, value)) - _list_lines(
        PUBLISHED[name], OURS[name]
    )


def compare_with_current(name: str, place: str, value: Any) -> set[str]:
    """Return the findings of a changed contract, compared with the current one, which a release stores."""
    return _list_lines(OURS[name], change_contract(OURS[name], place, value))


def _list_lines(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    return {str(difference) for difference in differences(old, new)}
