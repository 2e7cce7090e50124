"""Scenario files of the mock Open-E."""

import signal

import httpx
import pytest

from domain.errors import BudkavleError
from mock_open_e import Account, Conditions, DeclaredCase, MockOpenE, Order, Scenario, Status, User
from mock_open_e.server.scenario_file import read_scenario
from openapi.yaml_nodes import FileWrong
from tests.mock_open_e.soap import UTF8, add_message, send
from tests.processes import REPOSITORY, budkavle, run_program, running

EXAMPLE = REPOSITORY / "docs" / "mock-open-e.example.yaml"
SENDER = "<principal><userID>joe01doe</userID></principal>"


def write_scenario(folder, text):
    path = folder / "scenario.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def list_faults(folder, text):
    with pytest.raises(FileWrong) as caught:
        read_scenario(write_scenario(folder, text))
    first, *lines = str(caught.value).splitlines()
    assert first == "the scenario is invalid; the mock did not start"
    return [line.removeprefix(f"{folder}/scenario.yaml:") for line in lines]


def test_read_scenario_reads_the_example():
    scenario = read_scenario(EXAMPLE)
    assert scenario.strict is False
    assert scenario.accounts[0] == Account("partner", "not-a-secret")
    assert scenario.users[0] == User("joe01doe", "Joe", "Doe", "joe.doe@example.com", 1)
    assert (scenario.users[1].username, scenario.users[1].number) == ("ann02lee", 2)
    family = scenario.families[0]
    assert (family.number, family.name, family.accounts) == (7, "Bygglov", frozenset({"partner"}))
    assert family.statuses == (Status(10, "RECEIVED"), Status(20, "DONE"))
    assert (family.managers, family.read_receipts) == (frozenset({"joe01doe", "ann02lee"}), False)
    assert (scenario.families[1].accounts, scenario.families[1].read_receipts) == (None, True)
    assert scenario.allowed_families == {7, 8}
    assert DeclaredCase(1068, 7, "internal", 10, ("joe01doe",), ("Handläggare",)) in scenario.cases
    assert DeclaredCase(1069, 8, "external") in scenario.cases
    assert len(scenario.cases) == 5
    assert scenario.external == Conditions(-90, "Europe/Stockholm", 0.5, 3)
    assert scenario.internal == Conditions()
    assert scenario.faults == (
        Order("Slow", 1, 0.5, case=1069),
        Order("Http500", None, every=100, operation="addMessage"),
        Order("AcceptedAnswerLost", 2, instance="internal", operation="setStatus"),
        Order("Http403", 3, operation="messageapi"),
    )


def test_example_behaves_as_its_comments_describe():
    mock = MockOpenE(scenario=read_scenario(EXAMPLE))
    partner, other = "Basic cGFydG5lcjpub3QtYS1zZWNyZXQ=", "Basic b3RoZXItcGFydG5lcjpub3QtYS1zZWNyZXQtZWl0aGVy"

    def response(case, authorization=partner, instance="external"):
        body = add_message(f"<flowInstanceID>{case}</flowInstanceID>", rest=SENDER)
        return send(mock, body, instance=instance, authorization=authorization)

    assert response(1068).status == 200
    assert response(1068, None).status == 401
    assert b"AccessDeniedFault" in response(1068, other).body
    assert b"with ID 1069 was not found" in response(1069, instance="internal").body
    assert b"The requested flow instance was not found" in response(1070).body
    assert response(1069, other).delay == 0.5


def test_empty_mapping_declares_nothing(tmp_path):
    assert read_scenario(write_scenario(tmp_path, "{}")) == Scenario()
    assert read_scenario(write_scenario(tmp_path, "cases: []\nusers: []\nstrict: true")) == Scenario(
        cases=(), users=(), strict=True
    )


WRONG = """\
strict: maybe
credentials:
  - {username: "a:b", password: c}
  - {username: d}
  - {username: e, password: f}
  - {username: e, password: f}
users:
  - {username: joe, age: 5}
  - {username: joe}
families:
  - {number: 7, name: A, accounts: [x], statuses: [{number: 1}, {number: 1}], managers: [ann]}
  - {number: 7, name: B}
  - {number: 0, name: " ", readReceipts: 1}
allowedFamilies: [9]
cases:
  - {number: 1, family: 8, instance: both, status: 3}
  - {number: 2, family: 7, status: 3, managers: [ann]}
  - {number: 2}
  - {number: 99999999999}
faults:
  - {fault: Nonsense, times: 0, every: 0, seconds: -1, operation: add, case: 5, instance: x}
  - {}
conditions:
  external: {clockSeconds: -86401, timeZone: Europe/Stokholm, staleSeconds: soon, takenIds: -1}
  internal: {clock: 1}
  other: {}
more: 1
"""


def test_read_scenario_reports_all_faults_with_their_lines(tmp_path):
    found = list_faults(tmp_path, WRONG)
    expected = [
        "1: strict must be true or false",
        "3: username must not contain a colon, which HTTP Basic reserves",
        "4: credentials lacks password",
        "6: username 'e' is a duplicate",
        "8: a user has no key 'age'; it has username, firstname, lastname, email",
        "9: username 'joe' is a duplicate",
        "11: accounts: 'x' is not among the credentials",
        "11: managers: 'ann' is not among the users",
        "11: status 1 is a duplicate of line 11",
        "12: family 7 is a duplicate of line 11",
        "13: name must not be blank",
        "13: number must be an integer from 1 to 2147483647",
        "13: readReceipts must be true or false",
        "14: allowedFamilies: 9 is not among the families",
        "16: family: 8 is not among the families",
        "16: instance must be one of external, internal",
        "17: managers: 'ann' is not among the users",
        "17: status 3 is not among the statuses of family 7",
        "18: case 2 of the external instance is a duplicate of line 17",
        "18: case 2 of the internal instance is a duplicate of line 17",
        "19: number must be an integer from 1 to 2147483647",
        "21: case 5 is not among the cases",
        "21: every must be an integer from 1 to 2147483647",
        "21: instance must be one of external, internal",
        "21: seconds must be a number from 0 to 3600",
        "21: times must be an integer from 1 to 2147483647",
        "22: a fault lacks fault",
        "24: clockSeconds must be a number from -86400 to 86400",
        "24: timeZone: 'Europe/Stokholm' is not an IANA time zone that this machine knows",
        "24: staleSeconds must be a number from 0 to 86400",
        "24: takenIds must be an integer from 0 to 1000000",
        "25: the conditions of an instance has no key 'clock'; it has clockSeconds, timeZone, staleSeconds, takenIds",
        "26: conditions has no key 'other'; it has external, internal",
    ]
    assert [line for line in expected if line not in found] == []
    assert {line.split(":")[0] for line in found} == {line.split(":")[0] for line in expected} | {"27"}
    assert any(line.startswith("21: fault must be one of FlowInstanceNotFound, ") for line in found)
    assert any(line.startswith("21: operation must be one of addEvent, ") for line in found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "1: is empty"),
        (b"\xff", "1: is not UTF-8"),
        ("cases: [", "1: is not YAML"),
        ("- 1", "1: the scenario must be a mapping"),
        ("a: &a [1]\nb: *a", "1: the scenario has no key 'a'"),
    ],
)
def test_read_scenario_refuses_other_documents(tmp_path, text, fault):
    assert any(line.startswith(fault) for line in list_faults(tmp_path, text))


def test_read_scenario_reports_a_missing_file(tmp_path):
    with pytest.raises(BudkavleError, match="cannot be read"):
        read_scenario(tmp_path / "none.yaml")


def test_command_reports_all_lines_of_an_invalid_scenario(tmp_path):
    path = write_scenario(tmp_path, "strict: maybe\nmore: 1")
    result = run_program(*budkavle("mock-open-e", "--port", "0", "--scenario", str(path)), folder=tmp_path)
    assert result.returncode == 1
    assert f"{path}:1: strict must be true or false" in result.stderr
    assert f"{path}:2: the scenario has no key 'more'" in result.stderr
    assert "Traceback" not in result.stderr


def test_command_uses_a_scenario_and_strict_mode(tmp_path):
    path = write_scenario(tmp_path, "cases: [{number: 1068}]")
    with running(*budkavle("mock-open-e", "--port", "0", "--scenario", str(path), "--strict")) as process:
        url = process.wait_for("The mock Open-E listens on ")

        def text(body):
            headers = {"Content-Type": UTF8}
            return httpx.post(
                f"{url}/api/callback", content=body.encode(), headers=headers, trust_env=False, verify=False
            ).text

        assert "Rejected in strict mode: The request has no principal" in text(add_message())
        assert "ID 7 was not found" in text(add_message("<flowInstanceID>7</flowInstanceID>", rest=SENDER))
        assert "<messageID>1<" in text(add_message(rest=SENDER))
        process.send(signal.SIGINT)
        assert process.wait() == 0
