"""WSDL, schema and pages of the callback, and independent clients that use them."""

import base64
import http.client
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
import zeep
from lxml import etree
from zeep.exceptions import Fault
from zeep.helpers import serialize_object
from zeep.transports import Transport

from mock_open_e import MockOpenE, mock_open_e
from mock_open_e.behaviour.namespaces import CALLBACK_NAMESPACE
from mock_open_e.behaviour.operation_table import SHAPES
from mock_open_e.behaviour.soap.contract import SERVICE_NAMESPACE
from tests.installations import install_node_packages
from tests.mock_open_e.soap import UTF8, add_message, send

URL = "http://open-e.test/external/api/callback"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
NODE_CLIENT = Path(__file__).parent / "node"
PRINCIPAL = {"userID": "joe01doe"}
MANAGERS = {"managers": [PRINCIPAL], "managerGroups": [{"name": "Grupp"}]}
MESSAGE = {
    "added": "2026-02-19T07:57:06.123+01:00",
    "message": "Hej <b> åäö",
    "userID": "",
    "readReceiptEnabled": False,
    "attachments": [{"encodedData": base64.b64encode(b"hej").decode(), "filename": "å.pdf", "size": 3}],
}
CALLS = {
    "setManagers": (MANAGERS, 1),
    "getManagers": ({}, MANAGERS),
    "addMessage": ({"message": MESSAGE, "principal": PRINCIPAL}, 1),
    "addInternalMessage": ({"message": MESSAGE, "principal": PRINCIPAL}, 1),
    "addMessageAsOwner": ({"message": MESSAGE, "principal": {**PRINCIPAL, "citizenID": "c"}}, 2),
    "addEvent": ({"date": MESSAGE["added"], "message": "Hej", "principal": PRINCIPAL}, 4),
    "setStatus": ({"statusID": 5, "principal": PRINCIPAL}, 5),
    "confirmDelivery": ({"externalID": {"ID": "1", "System": "s"}, "delivered": True}, None),
    "setAttribute": ({"name": "a", "value": "b"}, None),
    "deleteInstance": ({}, "Deleting of flow instances is currently not supported"),
}
"""Arguments and answer, or fault, of each operation on one case, in the order of the calls.

An answer with one element is the value of that element.
"""
ANSWERS = {name: answer for name, (_, answer) in CALLS.items()}


def get(query, url=URL):
    response = MockOpenE().respond("external", {}, method="GET", query=query, url=url)
    return response.status, response.headers.get("Content-Type"), response.body


@pytest.mark.parametrize("url", ["http://localhost:8081/internal/api/callback", "https://e-arenden.test/api/callback"])
def test_wsdl_contains_the_called_address_and_imports_its_parts(url):
    status, kind, body = get("wsdl", url)
    assert (status, kind) == (200, "text/xml;charset=utf-8")
    root = etree.fromstring(body)
    assert root.get("targetNamespace") == SERVICE_NAMESPACE
    assert root.find(f"{WSDL}import").get("location") == f"{url}?wsdl=1"
    assert root.find(f"{WSDL}binding").get("name") == "IntegrationCallbackPortBinding"
    assert root.find(f"{WSDL}service").get("name") == "IntegrationCallback"
    port = root.find(f"{WSDL}service/{WSDL}port")
    assert port.get("name") == "IntegrationCallbackPort"
    assert port[0].get("location") == url
    imported = etree.fromstring(get("wsdl=1", url)[2])
    assert imported.get("targetNamespace") == CALLBACK_NAMESPACE
    assert imported.find(f"{WSDL}portType").get("name") == "IntegrationCallback"
    assert f'schemaLocation="{url}?xsd=1"'.encode() in get("wsdl=1", url)[2]


def test_wsdl_names_actions_and_faults_as_open_e_does():
    _, _, body = get("wsdl=1")
    operations = etree.fromstring(body).iterfind(f"{WSDL}portType/{WSDL}operation")
    actions = {each.get("name"): [part.get(f"{{{METADATA}}}Action") for part in each] for each in operations}
    assert set(actions) == set(SHAPES)
    base = f"{CALLBACK_NAMESPACE}/IntegrationCallback/addMessage"
    assert actions["addMessage"] == [
        f"{base}Request",
        f"{base}Response",
        f"{base}/Fault/FlowInstanceNotFoundException",
        f"{base}/Fault/AccessDeniedException",
    ]
    assert len(actions["setStatus"]) == 5


METADATA = "http://www.w3.org/2007/05/addressing/metadata"


def test_schema_is_valid_and_accepts_what_it_describes():
    status, kind, body = get("xsd=1")
    assert (status, kind) == (200, "text/xml;charset=utf-8")
    schema = etree.XMLSchema(etree.fromstring(body))
    request = etree.fromstring(add_message(message=SERVED).encode())[0][0]
    assert schema.validate(request), schema.error_log
    shipped = etree.fromstring(add_message().encode())[0][0]
    assert not schema.validate(shipped)


SERVED = "<added>2026-02-19T07:57:06</added><message>Hej</message><userID/><readReceiptEnabled>0</readReceiptEnabled>"


@pytest.mark.parametrize("query", ["xsd=9", "wsdl=2", "xsd="])
def test_unknown_parts_of_the_contract_are_404(query):
    status, kind, body = get(query)
    assert (status, kind) == (404, "text/html;charset=utf-8")
    assert body.startswith(b"<html>")


def test_plain_get_returns_a_page_with_service_and_port():
    status, kind, body = get("", "http://a.test/<x>")
    assert (status, kind) == (200, "text/html;charset=utf-8")
    assert b"<title>Web Services</title>" in body
    assert b"IntegrationCallbackPort" in body
    assert b"http://a.test/&lt;x&gt;?wsdl" in body


def test_head_is_404_and_put_is_like_post():
    mock = MockOpenE()
    head = mock.respond("external", {}, method="HEAD", query="wsdl")
    assert (head.status, head.body) == (404, b"")
    put = mock.respond("external", {"content-type": UTF8}, add_message().encode(), method="PUT")
    assert put.body == send(MockOpenE(), add_message()).body
    assert mock.respond("external", {}, method="DELETE").status == 405


def test_contract_requires_the_same_credentials():
    mock = MockOpenE(username="u", password="p")
    assert mock.respond("external", {}, method="GET", query="wsdl").status == 401
    assert mock.respond("external", {"authorization": "Basic dTpw"}, method="GET", query="wsdl").status == 200


def test_clients_call_each_operation():
    assert set(CALLS) == set(SHAPES), "add the operation to CALLS, which two SOAP clients call"


def remove_absent(value):
    """Return an answer without absent elements."""
    if isinstance(value, list):
        return [remove_absent(each) for each in value]
    if isinstance(value, dict):
        return {name: remove_absent(each) for name, each in value.items() if each is not None}
    return value


def call_with_zeep(service, name):
    """Return the answer to a call with a client that was generated only from the WSDL, or the text of the fault."""
    arguments = CALLS[name][0]
    if arguments.get("message") == MESSAGE:
        files = [{**file, "encodedData": base64.b64decode(file["encodedData"])} for file in MESSAGE["attachments"]]
        arguments = {**arguments, "message": {**MESSAGE, "attachments": files}}
    try:
        response = remove_absent(serialize_object(service[name](flowInstanceID=1068, **arguments), dict))
    except Fault as fault:
        return fault.message
    return next(iter(response.values())) if isinstance(response, dict) and len(response) == 1 else response


def test_zeep_calls_every_operation_through_the_python_interface():
    with mock_open_e(strict=True, username="u", password="p") as open_e:
        session = requests.Session()
        session.auth = ("u", "p")
        client = zeep.Client(f"{URL}?wsdl", transport=Transport(session=session))
        assert {name: call_with_zeep(client.service, name) for name in CALLS} == ANSWERS
        first = open_e.list_messages()[0]
    assert (first.text, first.files[0].filename) == ("Hej <b> åäö", "å.pdf")
    assert open_e.file(first.files[0].content.sha256) == b"hej"
    assert (first.user_id, first.kind) == ("joe01doe", "manager")


def test_zeep_calls_every_operation_of_the_server(run_mock):
    with run_mock(MockOpenE(cases=[1068], strict=True)) as url:
        client = zeep.Client(f"{url}/external/api/callback?wsdl")
        assert {name: call_with_zeep(client.service, name) for name in CALLS} == ANSWERS
        with pytest.raises(Fault) as caught:
            client.service.getManagers(flowInstanceID=7)
    assert caught.value.message == "The requested flow instance with ID 7 was not found"
    assert caught.value.detail[0].tag == f"{{{CALLBACK_NAMESPACE}}}FlowInstanceNotFoundFault"


def test_server_handles_methods_as_open_e_does(run_mock):
    with run_mock(MockOpenE()) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
        for method, status in [("HEAD", 404), ("GET", 200), ("PUT", 500)]:
            connection.request(method, "/internal/api/callback", headers={"Content-Length": "0"})
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()


def test_soap_client_of_node_calls_every_operation(run_mock, tmp_path):
    shutil.copytree(NODE_CLIENT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(install_node_packages(NODE_CLIENT))
    calls = json.dumps({name: arguments for name, (arguments, _) in CALLS.items()})
    with run_mock(MockOpenE(cases=[1068])) as url:
        command = ["node", "client.mjs", f"{url}/external/api/callback?wsdl", calls]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    responses = json.loads(result.stdout)
    assert responses.pop("deleteInstance").endswith(ANSWERS["deleteInstance"])
    expected = {name: response for name, response in ANSWERS.items() if name != "deleteInstance"}
    assert responses == expected
