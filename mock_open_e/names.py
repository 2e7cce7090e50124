"""The public names of the mock."""

from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.fault_kinds import FAULT_KINDS, FaultKind
from mock_open_e.behaviour.journal import Entry, MockResponse, Refusal, SentFile
from mock_open_e.behaviour.mock import MockOpenE
from mock_open_e.behaviour.orders import (
    FAULT_NAMES,
    INSTANCES,
    OPERATION_NAMES,
    STORING,
    FaultName,
    Instance,
    Order,
    OrderedFault,
)
from mock_open_e.behaviour.scenario import Account, DeclaredCase, Family, Scenario, Status, User
from mock_open_e.behaviour.state import Case, Event, File, FileJson, Limits, Message, MessageJson
from mock_open_e.python_interface import mock_open_e
from mock_open_e.server_process import OpenEServer

__all__ = [
    "FAULT_KINDS",
    "FAULT_NAMES",
    "INSTANCES",
    "OPERATION_NAMES",
    "STORING",
    "Account",
    "Case",
    "Conditions",
    "DeclaredCase",
    "Entry",
    "Event",
    "Family",
    "FaultKind",
    "FaultName",
    "File",
    "FileJson",
    "Instance",
    "Limits",
    "Message",
    "MessageJson",
    "MockOpenE",
    "MockResponse",
    "OpenEServer",
    "Order",
    "OrderedFault",
    "Refusal",
    "Scenario",
    "SentFile",
    "Status",
    "User",
    "mock_open_e",
]
