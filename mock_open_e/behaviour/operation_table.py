"""The table of the operations of the callback: elements of requests and responses, and declared faults.

Source: names, order, types and occurrences of the callback's published schema.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "FlowInstanceNotFoundException": "FlowInstanceNotFoundFault",
        "StatusNotFoundException": "StatusNotFoundFault",
        "AccessDeniedException": "AccessDeniedFault",
    }
)
"""The declared faults by their names in the WSDL, with the elements in their details."""

CASE = ("flowInstanceID? xs:int", "externalID? t:ExternalID")
"""The elements that identify a case. A request has one of them."""

_MESSAGE = (*CASE, "message t:IntegrationMessage", "principal? t:Principal")


class Shape(NamedTuple):
    """The elements of an operation: `name`, `name?` or `name*`, then the type."""

    request_fields: tuple[str, ...]
    response_fields: tuple[str, ...] = ()
    faults: tuple[str, ...] = ("FlowInstanceNotFoundException", "AccessDeniedException")


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "addEvent": Shape(
            (*CASE, "date xs:dateTime", "message xs:string", "principal? t:Principal"), ("eventID xs:int",)
        ),
        "addInternalMessage": Shape(_MESSAGE, ("messageID xs:int",)),
        "addMessage": Shape(_MESSAGE, ("messageID xs:int",)),
        "addMessageAsOwner": Shape((*_MESSAGE[:-1], "principal? t:OwnerPrincipal"), ("messageID xs:int",)),
        "confirmDelivery": Shape(
            ("flowInstanceID xs:int", "externalID? t:ExternalID", "delivered xs:boolean", "logMessage? xs:string")
        ),
        "deleteInstance": Shape((*CASE, "logMessage? xs:string")),
        "getManagers": Shape(CASE, ("managers* t:Principal", "managerGroups* t:PrincipalGroup")),
        "setAttribute": Shape((*CASE, "name xs:string", "value? xs:string")),
        "setManagers": Shape(
            (*CASE, "managers* t:Principal", "managerGroups* t:PrincipalGroup"), ("setManagersReturn xs:int",)
        ),
        "setStatus": Shape(
            (*CASE, "statusID? xs:int", "statusAlias? xs:string", "principal? t:Principal"),
            ("eventID xs:int",),
            ("FlowInstanceNotFoundException", "StatusNotFoundException", "AccessDeniedException"),
        ),
    }
)
"""The operations of the callback, sorted. Each is implemented by a function in `operations` or `messages`."""


def name_request_element(operation: str) -> str:
    """Return the name of the request element of an operation."""
    return f"{operation}Request" if operation == "getManagers" else operation
