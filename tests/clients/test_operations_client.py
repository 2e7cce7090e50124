"""The generated Python client of health, metrics and metadata: every operation and every response."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from conftest import RunningService
from tests.clients.generating import Generated
from tests.clients.response_cases import ResponseCase, ResponseCases
from tests.tokens import ISSUER

LIVE, READY, METRICS, RESOURCE = ALL = "getHealthLive", "getHealthReady", "getMetrics", "getProtectedResource"

RESPONSE_CASES = ResponseCases()
RESPONSE_CASES.exclude(500, ALL, because="a fault of the service itself: without its database it answers all of them")


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


@RESPONSE_CASES.register(200, LIVE)
def live(call: Any, api: OperationsApi) -> Any:
    response = call()
    assert response.parsed.status is api.generated.models.HealthStatus.UP
    return response


@RESPONSE_CASES.register(200, READY)
def ready(call: Any, api: OperationsApi) -> Any:
    response = call()
    models, components = api.generated.models, response.parsed.components
    assert response.parsed.status is models.ReadinessStatus.UP
    assert components.database is models.ReadinessComponentsDatabase.UP
    assert components.open_e_external is models.OpenEHealth.UNKNOWN
    return response


@RESPONSE_CASES.register(503, READY)
def no_database(call: Any, api: OperationsApi) -> Any:
    response = call(client=api.generated.caller(api.broken.url))
    models = api.generated.models
    assert response.parsed.status is models.ReadinessStatus.DOWN
    assert response.parsed.components.database is models.ReadinessComponentsDatabase.DOWN
    return response


@RESPONSE_CASES.register(200, METRICS)
def samples(call: Any, api: OperationsApi) -> Any:
    response = call()
    assert "\nbudkavle_database_up 1.0\n" in response.parsed
    return response


@RESPONSE_CASES.register(200, RESOURCE)
def metadata(call: Any, api: OperationsApi) -> Any:
    response = call()
    assert response.parsed.authorization_servers == [ISSUER]
    assert "wms:write" in response.parsed.scopes_supported
    return response


@RESPONSE_CASES.register(404, RESOURCE)
def no_issuers(call: Any, api: OperationsApi) -> Any:
    response = call(client=api.generated.caller(api.broken.url))
    assert response.parsed.detail == "No protected resource is configured"
    return response


@RESPONSE_CASES.register(400, *ALL)
def unknown_parameter(call: Any, api: OperationsApi) -> Any:
    response = call(client=api.generated.caller(api.running.url, params={"verbose": "1"}))
    assert [violation.message for violation in response.parsed.violations] == ["not a parameter of this operation"]
    return response


@pytest.mark.parametrize("case", RESPONSE_CASES.cases, ids=str)
def test_each_response_is_parsed_to_its_type(case: ResponseCase, api: OperationsApi) -> None:
    case.check(api)


def test_every_response_has_a_case(generate: Callable[[str], Generated]) -> None:
    RESPONSE_CASES.assert_complete(generate("operations"))


def test_responses_that_no_caller_can_cause_are_parsed(api: OperationsApi) -> None:
    RESPONSE_CASES.assert_examples_are_parsed(api)
