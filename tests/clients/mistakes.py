"""Incorrect uses of generated clients, each of which a type checker must report. This module is never executed."""

# The test generates the packages, so import sorting cannot classify them.
from uuid import uuid4

from abonnementer_client import AuthenticatedClient
from abonnementer_client.api.besked import opret_besked
from abonnementer_client.models import AcceptedEvent, ErrorList, Event, EventAendringstype, Subscription
from mock_open_e_client.models import FaultOrder, FaultOrderFault
from operations_client import Client
from operations_client.api.health import get_health_ready
from web_messages_client.models import CreateWebMessageRequest, ExternalReferenceRequest

URL = "http://service.test"

reference = ExternalReferenceRequest(key="flowInstanceId", value="1068")
CreateWebMessageRequest(message="Hello", external_references=[reference])
CreateWebMessageRequest(message="Hello")  # type: ignore[call-arg]  # Without a reference.
CreateWebMessageRequest(message="Hello", external_reference=[reference])  # type: ignore[call-arg]  # A misspelt field.
CreateWebMessageRequest(message=1, external_references=[reference])  # type: ignore[arg-type]  # A number for a text.
CreateWebMessageRequest(message="Hello", external_references=["1068"])  # type: ignore[list-item]  # Not a reference.

Subscription(org_type="1", org_code=1, entity_type=1, webhook_url="/", start_dato="")  # type: ignore[arg-type]  # A text.
FaultOrder(fault="Slow")  # type: ignore[arg-type]  # A text where one of a few names is expected.
FaultOrderFault.SLOWER  # type: ignore[attr-defined]  # noqa: B018  # No such name.

event = Event(entity_type=1, org_type=1, org_code=1, aendringstype=EventAendringstype.VALUE_2, besked_id=uuid4())
with AuthenticatedClient(base_url=URL, token="", prefix="", auth_header_name="apikey") as client:
    response = opret_besked.sync(client=client, body=event)
    if isinstance(response, AcceptedEvent):
        response.errors  # type: ignore[attr-defined]  # noqa: B018  # An accepted event has no errors.
    elif isinstance(response, ErrorList):
        response.errors[0].error_code.value + 1
    # The status was not checked.
    response.besked_id  # type: ignore[union-attr]  # noqa: B018  # It may be a list of errors, or nothing.
    opret_besked.sync(client=client, body=reference)  # type: ignore[arg-type]  # The body of another operation.

ready = get_health_ready.sync(client=Client(base_url=URL))
ready.components  # type: ignore[union-attr]  # noqa: B018  # It may be a problem, or nothing.
