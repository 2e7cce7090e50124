"""Run Schemathesis on the published contracts: valid and invalid data, examples, edge cases, and sequences of calls.

Its configuration is in schemathesis.toml, which the command line also reads (test_cli.py). Web messages and
subscriptions are not here, since tests/contract_tests/test_check.py runs whole checks of both on each database, with
more examples and with sequences.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.pytest.lazy import get_all_tests

from budkavle.specs import find_spec_dir
from conftest import MESSAGES_KEY
from contract_tests import schemathesis_hooks  # noqa: F401  # Its hooks are registered by the import.
from contract_tests.target import CheckTarget

CONFIG = Path(__file__).parent / "schemathesis.toml"
HEADERS = {"apikey": MESSAGES_KEY}
SEQUENCES = hypothesis.settings(
    max_examples=25,
    stateful_step_count=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def contract(name: str, *accepted: str, examples: int = 25, ignores_unknown: bool = False) -> Any:
    """Return a contract with fewer examples than on the command line. `accepted` are more statuses for valid data."""
    config = SchemathesisConfig.from_path(CONFIG)
    project = config.projects.default
    project.generation.max_examples = examples
    project.generation.allow_extra_parameters = not ignores_unknown
    # The database is empty, so requests of the examples find nothing.
    project.checks.positive_data_acceptance.expected_statuses = ["2xx", "404", *accepted]
    project.phases.examples.checks.positive_data_acceptance.expected_statuses = ["2xx", "404", *accepted]
    return schemathesis.openapi.from_path(find_spec_dir() / f"{name}.yaml", config=config)


CONTRACTS = {
    "operations": contract("operations"),
    # Their schemas are wider than those of the web messages of this service, and they have the same messages.
    "web-messages-3.2": contract("web-messages-3.2", examples=10, ignores_unknown=True),
    "oep-integrator-1.5": contract("oep-integrator-1.5", examples=10, ignores_unknown=True),
    "mock-open-e": contract("mock-open-e", "408"),
}


def each_operation(name: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test with each operation of a contract."""
    return pytest.mark.parametrize("operation", [item.ok().label for item in CONTRACTS[name].get_all_operations()])


def check_operation(name: str, operation: str, **call: Any) -> None:
    """Send generated requests to an operation, with these arguments of a call, and validate the responses."""
    operation_test(name, operation)(call=call)


@cache
def operation_test(name: str, operation: str) -> Callable[..., None]:
    """Return the Hypothesis test of an operation, for both databases.

    Schemathesis generates the edge cases here. Its decorator would do so during the collection, for seconds in each
    process of a run.
    """
    [(_, test)] = [
        result.ok()
        for result in get_all_tests(
            schema=CONTRACTS[name].include(name=operation), test_func=validate_call, settings=None, given_kwargs={}
        )
    ]
    return test


def validate_call(case: schemathesis.Case, call: dict[str, Any]) -> None:
    case.call_and_validate(**call)


@each_operation("operations")
def test_operations_keeps_its_contract(operation: str, target: CheckTarget) -> None:
    check_operation("operations", operation, base_url=target.url, headers=HEADERS)


@each_operation("web-messages-3.2")
def test_municipal_web_messages_keeps_its_contract(operation: str, target: CheckTarget) -> None:
    check_operation("web-messages-3.2", operation, base_url=target.url, headers=HEADERS)


@each_operation("oep-integrator-1.5")
def test_case_messages_keeps_its_contract(operation: str, target: CheckTarget) -> None:
    check_operation("oep-integrator-1.5", operation, base_url=target.url, headers=HEADERS)


@each_operation("mock-open-e")
def test_mock_open_e_keeps_its_contract(operation: str, mock_url: str) -> None:
    check_operation("mock-open-e", operation, base_url=mock_url)


def test_mock_open_e_keeps_its_contract_over_sequences_of_calls(mock_url: str) -> None:
    class Machine(CONTRACTS["mock-open-e"].as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            # Results of a sequence must not depend on the one before.
            requests.post(f"{mock_url}/control/reset", timeout=5).raise_for_status()

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": mock_url}

    Machine.run(settings=SEQUENCES)
