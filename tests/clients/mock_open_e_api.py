"""Create clients of the control API for a running mock Open-E."""

import hashlib
from dataclasses import dataclass
from typing import Any

from tests.clients.conftest import CASE
from tests.clients.generating import Generated

MESSAGES, CLEAR, EXPECT = "listControlMessages", "clearControlMessages", "expectMessages"
ORDER, CLEAR_FAULTS = "orderFault", "clearFaults"
FAULTS, REMOVE_FAULT, FAULT_KINDS = "listFaults", "removeFault", "listFaultKinds"
HEALTH, NAMES = "getHealth", "listNames"
CONDITIONS, SET_CONDITIONS = "getConditions", "setConditions"
CASES, ONE_CASE, PLANT = "listCases", "getCase", "plantMessage"
CALLS, CLEAR_CALLS, ONE_CALL, FILE = "listCalls", "clearCalls", "getCall", "getFile"
OVERVIEW, RESET = "getOverview", "resetWorld"
ALL = (
    *(MESSAGES, CLEAR, EXPECT, ORDER, CLEAR_FAULTS, CONDITIONS, SET_CONDITIONS, CASES, ONE_CASE, PLANT),
    *(CALLS, CLEAR_CALLS, ONE_CALL, FILE, OVERVIEW, RESET, FAULTS, REMOVE_FAULT, FAULT_KINDS, HEALTH, NAMES),
)
DATA = b"Hello\n"
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class MockApi:
    """A client with its own world; `address` is the callback for callers."""

    generated: Generated
    address: str

    @property
    def models(self) -> Any:
        return self.generated.models

    def client(self, **arguments: Any) -> Any:
        return self.generated.caller(self.address, **arguments)

    def get(self, operation_id: str, **arguments: Any) -> Any:
        return self.generated.operation(operation_id).sync(client=self.client(), **arguments)

    def arguments(self, operation_id: str) -> dict[str, Any]:
        case = {"instance": self.models.GetCaseInstance.EXTERNAL, "flow_instance_id": CASE}
        arguments: dict[str, dict[str, Any]] = {
            EXPECT: {"timeout": 0},
            ORDER: {"body": self.models.FaultOrder(self.models.FaultOrderFault.HTTP500)},
            CONDITIONS: {"instance": self.models.GetConditionsInstance.EXTERNAL},
            SET_CONDITIONS: {
                "instance": self.models.SetConditionsInstance.EXTERNAL,
                "body": self.models.NewConditions(taken_ids=3),
            },
            ONE_CASE: case,
            PLANT: {**case, "body": self.models.PlantedMessage("When do I hear from you?")},
            ONE_CALL: {"number": 1},
            REMOVE_FAULT: {"number": 1},
            FILE: {"sha256": SHA256},
        }
        return {"client": self.client(), **arguments.get(operation_id, {})}
