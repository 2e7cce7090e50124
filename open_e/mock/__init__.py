"""A mock of Open-E's integration callback: one behaviour, and the door for Python tests.

    with mock_open_e(cases={1068}) as open_e:
        ...                                   # code under test posts with `requests`
        assert open_e.messages[0]["message"] == "Hej"

The other door is a server (`open_e.mock_server`, or `budkavle mock-open-e` on the command line).
"""

from open_e.mock.behaviour import MockOpenE
from open_e.mock.door import mock_open_e
from open_e.mock.journal import Answer, Entry, Refusal, SentFile
from open_e.mock.orders import FAULT_NAMES, INSTANCES, OPERATION_NAMES, STORING, FaultName, Instance, Order
from open_e.mock.scenario import Account, DeclaredCase, Family, Scenario, Status, User
from open_e.mock.state import Case, Event, File, Limits, Message

__all__ = [
    "FAULT_NAMES",
    "INSTANCES",
    "OPERATION_NAMES",
    "STORING",
    "Account",
    "Answer",
    "Case",
    "DeclaredCase",
    "Entry",
    "Event",
    "Family",
    "FaultName",
    "File",
    "Instance",
    "Limits",
    "Message",
    "MockOpenE",
    "Order",
    "Refusal",
    "Scenario",
    "SentFile",
    "Status",
    "User",
    "mock_open_e",
]
