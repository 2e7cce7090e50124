"""The generated Python client of health and metrics: every operation and every response."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from conftest import RunningService
from tests.clients.answering import Answer, Answers
from tests.clients.generating import Generated

LIVE, READY, METRICS = ALL = "getHealthLive", "getHealthReady", "getMetrics"

ANSWERS = Answers()
ANSWERS.not_caused(500, ALL, because="a fault of the service itself: without its database it answers all three")


@dataclass
class OperationsApi:
    generated: Generated
    running: RunningService
    broken: RunningService

    def arguments(self, operation_id: str) -> dict[str, Any]:
        return {"client": self.generated.caller(self.running.url)}


@pytest.fixture
def api(generate: Callable[[str], Generated], running: RunningService, broken: RunningService) -> OperationsApi:
    return OperationsApi(generate("operations"), running, broken)


@ANSWERS.of(200, LIVE)
def lives(call: Any, api: OperationsApi) -> Any:
    response = call()
    assert response.parsed.status is api.generated.models.HealthStatus.UP
    return response


@ANSWERS.of(200, READY)
def ready(call: Any, api: OperationsApi) -> Any:
    response = call()
    models, components = api.generated.models, response.parsed.components
    assert response.parsed.status is models.ReadinessStatus.UP
    assert components.database is models.ReadinessComponentsDatabase.UP
    assert components.open_e_external is models.OpenEHealth.UNKNOWN
    return response


@ANSWERS.of(503, READY)
def no_database(call: Any, api: OperationsApi) -> Any:
    response = call(client=api.generated.caller(api.broken.url))
    models = api.generated.models
    assert response.parsed.status is models.ReadinessStatus.DOWN
    assert response.parsed.components.database is models.ReadinessComponentsDatabase.DOWN
    return response


@ANSWERS.of(200, METRICS)
def samples(call: Any, api: OperationsApi) -> Any:
    response = call()
    assert "\nbudkavle_database_up 1.0\n" in response.parsed
    return response


@ANSWERS.of(400, *ALL)
def unknown_parameter(call: Any, api: OperationsApi) -> Any:
    response = call(client=api.generated.caller(api.running.url, params={"verbose": "1"}))
    assert [violation.message for violation in response.parsed.violations] == ["not a parameter of this operation"]
    return response


@pytest.mark.parametrize("answer", ANSWERS.met, ids=str)
def test_each_response_is_parsed_to_its_type(answer: Answer, api: OperationsApi) -> None:
    answer.meet(api)


def test_every_response_has_a_case(generate: Callable[[str], Generated]) -> None:
    ANSWERS.assert_complete(generate("operations"))


def test_responses_that_no_caller_can_cause_are_parsed(api: OperationsApi) -> None:
    ANSWERS.assert_examples_are_parsed(api)
