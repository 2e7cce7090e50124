"""The operations of the callback that store no message."""

import pytest

from mock_open_e import Account, DeclaredCase, Family, MockOpenE, Scenario, Status, User
from mock_open_e.behaviour.operation_table import SHAPES, name_request_element
from tests.mock_open_e.soap import NS, SOAP, XSI, build_fault, build_not_found, build_request, send

CASE = "<flowInstanceID>1068</flowInstanceID>"
EXTERNAL_ID = "<externalID><ID>1</ID><System>s</System></externalID>"
DATE = "<date>2026-02-19T07:57:06</date><message>Hej</message>"

SCENARIO = Scenario(
    users=(User("joe01doe", "Joe", "Doe"), User("ann02lee")),
    families=(
        Family(
            7,
            "Bygglov",
            statuses=(Status(10, "RECEIVED"), Status(20, "DONE")),
            managers=frozenset({"joe01doe"}),
            manager_groups=frozenset({"Handläggare"}),
        ),
    ),
    cases=(DeclaredCase(1068, 7, status=10, managers=("joe01doe",)), DeclaredCase(1069)),
)

ON_A_CASE = [name_request_element(name) for name in SHAPES if name != "deleteInstance"]
"""Request elements of all operations that look for their case."""


def call(mock, name, content, case=CASE):
    response = send(mock, build_request(f'<{name} xmlns="{NS}">{case}{content}</{name}>'))
    return response.status, response.body.decode()


def build_success(element, content=""):
    text = f'<{element} xmlns="{NS}">{content}</{element}>' if content else f'<{element} xmlns="{NS}"/>'
    envelope = f'<S:Envelope xmlns:S="{SOAP}"><S:Body>{text}</S:Body></S:Envelope>'
    return 200, f"<?xml version='1.0' encoding='UTF-8'?>{envelope}"


@pytest.fixture
def mock():
    return MockOpenE(scenario=SCENARIO)


@pytest.mark.parametrize("name", ON_A_CASE)
def test_every_operation_reports_an_unknown_case(mock, name):
    assert call(mock, name, "", "<flowInstanceID>7</flowInstanceID>") == (500, build_not_found(7))
    assert call(mock, name, "", "") == (500, build_not_found("null"))


@pytest.mark.parametrize("name", ON_A_CASE)
def test_external_id_alone_is_not_implemented(mock, name):
    prefix = "" if name in {"setStatus", "addEvent", "setManagers", "setAttribute"} else "java.lang.RuntimeException: "
    expected = build_fault(f"{prefix}External ID support not implemented")
    if name == "confirmDelivery":
        # Its flowInstanceID is mandatory, so the other id is not used to find the case.
        expected = build_not_found("null")
    assert call(mock, name, "", EXTERNAL_ID) == (500, expected)


@pytest.mark.parametrize("name", ON_A_CASE)
def test_every_operation_checks_the_case_before_access_to_its_family(name):
    families = (Family(7, accounts=frozenset({"other"})),)
    accounts = (Account("u", "p"), Account("other", "p"))
    scenario = Scenario(accounts=accounts, families=families, cases=(DeclaredCase(1068, 7),))
    mock = MockOpenE(scenario=scenario)

    def response(case, authorization="Basic dTpw"):
        body = build_request(f'<{name} xmlns="{NS}"><flowInstanceID>{case}</flowInstanceID></{name}>')
        return send(mock, body, authorization=authorization).body.decode()

    assert response(7) == build_not_found(7)
    assert response(1068) == build_fault(
        "This user does not have access to this flow family", detail="AccessDeniedFault"
    )
    assert "AccessDeniedFault" not in response(1068, "Basic b3RoZXI6cA==")


def test_cases_outside_the_allowed_families_are_not_found():
    mock = MockOpenE(
        scenario=Scenario(
            families=(Family(7),), cases=(DeclaredCase(1, 7), DeclaredCase(2)), allowed_families=frozenset({7})
        )
    )
    expected = build_fault("The requested flow instance was not found", detail="FlowInstanceNotFoundFault")
    assert call(mock, "addEvent", DATE, "<flowInstanceID>1</flowInstanceID>")[0] == 200
    assert call(mock, "addEvent", DATE, "<flowInstanceID>2</flowInstanceID>") == (500, expected)


def test_delete_instance_is_always_refused(mock):
    expected = build_fault("Deleting of flow instances is currently not supported", detail="AccessDeniedFault")
    for case in [CASE, "", EXTERNAL_ID]:
        assert call(mock, "deleteInstance", "<logMessage>x</logMessage>", case) == (500, expected)


def test_set_status_returns_the_event_or_0_for_the_current_status(mock):
    assert call(mock, "setStatus", "<statusID>10</statusID>") == build_success(
        "setStatusResponse", "<eventID>0</eventID>"
    )
    assert call(mock, "setStatus", "<statusAlias>DONE</statusAlias>") == build_success(
        "setStatusResponse", "<eventID>1</eventID>"
    )
    assert call(mock, "setStatus", "<statusID>20</statusID>") == build_success(
        "setStatusResponse", "<eventID>0</eventID>"
    )
    assert [(case.number, case.status) for case in mock.list_cases(instance="external")] == [(1068, 20), (1069, 0)]
    (event,) = mock.list_events(case=1068)
    assert (event.kind, event.text) == ("setStatus", "20")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("<statusID>30</statusID>", "30"),
        ("<statusAlias>GONE</statusAlias>", "GONE"),
        ("<statusID>x</statusID>", "null"),
        ("", "null"),
    ],
)
def test_set_status_reports_an_unknown_status(mock, content, status):
    expected = build_fault(f"Status with ID {status} not found for flow Bygglov", detail="StatusNotFoundFault")
    assert call(mock, "setStatus", content) == (500, expected)


def test_set_status_accepts_any_status_if_none_are_declared(mock):
    case = "<flowInstanceID>1069</flowInstanceID>"
    for content, status in [("<statusID>5</statusID>", 200), ("<statusAlias>A</statusAlias>", 200)]:
        assert call(mock, "setStatus", content, case)[0] == status
    assert "StatusNotFoundFault" in call(mock, "setStatus", "<statusAlias>NotFound</statusAlias>", case)[1]


def test_add_event_adds_to_the_history(mock):
    principal = "<principal><userID>joe01doe</userID></principal>"
    assert call(mock, "addEvent", DATE + principal) == build_success("addEventResponse", "<eventID>1</eventID>")
    (event,) = mock.list_events()
    assert (event.date, event.text, event.user_id) == ("2026-02-19T07:57:06", "Hej", "joe01doe")


def test_confirm_delivery_stores_the_external_id_and_is_idempotent(mock):
    for _ in range(2):
        assert call(mock, "confirmDelivery", f"{EXTERNAL_ID}<delivered>true</delivered>") == build_success(
            "confirmDeliveryResponse"
        )
    case = mock.list_cases(instance="external")[0]
    assert (case.delivered, case.external_id) == (True, ("1", "s"))
    assert len(mock.list_events()) == 1


def test_confirm_delivery_stores_no_external_id_without_a_delivery(mock):
    call(mock, "confirmDelivery", f"{EXTERNAL_ID}<delivered>false</delivered>")
    assert mock.list_cases(instance="external")[0].external_id is None


def test_set_attribute_prefixes_the_name_and_removes_with_an_empty_value(mock):
    def attributes():
        return dict(mock.list_cases(instance="external")[0].attributes)

    assert call(mock, "setAttribute", "<name>a</name><value>b</value>") == build_success("setAttributeResponse")
    assert attributes() == {"callback.a": "b"}
    assert call(mock, "setAttribute", f'<name>a</name><value xmlns:i="{XSI}" i:nil="true"/>')[0] == 200
    assert attributes() == {}
    assert call(mock, "setAttribute", "<value>b</value>")[0] == 500


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (f"<name>{'a' * 256}</name><value>b</value>", "name"),
        (f"<name>a</name><value>{'b' * 65_536}</value>", "value"),
    ],
)
def test_set_attribute_refuses_too_long_values(mock, content, column):
    expected = build_fault(f"java.sql.SQLException: Data too long for column '{column}' at row 1")
    assert call(mock, "setAttribute", content) == (500, expected)


def test_managers_are_set_and_returned(mock):
    joe = "<managers><name>Joe Doe</name><userID>joe01doe</userID></managers>"
    assert call(mock, "getManagersRequest", "") == build_success("getManagersResponse", joe)
    same = "<managers><userID>joe01doe</userID></managers>"
    groups = "<managerGroups><name>Handläggare</name></managerGroups>"
    assert call(mock, "setManagers", same) == build_success(
        "setManagersResponse", "<setManagersReturn>0</setManagersReturn>"
    )
    assert call(mock, "setManagers", same + groups) == build_success(
        "setManagersResponse", "<setManagersReturn>1</setManagersReturn>"
    )
    assert call(mock, "getManagersRequest", "") == build_success("getManagersResponse", joe + groups)


@pytest.mark.parametrize(
    "content",
    [
        "<managers><userID>nobody</userID></managers>",
        "<managers><userID>ann02lee</userID></managers>",
        "<managerGroups><name>Andra</name></managerGroups>",
    ],
)
def test_set_managers_refuses_unknown_managers(mock, content):
    expected = build_fault(
        "One or more of the specified users/groups are not valid managers for this flow", detail="AccessDeniedFault"
    )
    assert call(mock, "setManagers", content) == (500, expected)


def test_cases_are_created_on_first_use_in_their_instance():
    mock = MockOpenE()
    call(mock, "setAttribute", "<name>a</name><value>b</value>")
    assert [(case.instance, case.number) for case in mock.list_cases()] == [("external", 1068)]
    mock.reset()
    assert mock.list_cases() == []
