"""References are stored without duplicates, and that of a case in its only spelling."""

import pytest

from contract_tests.api import Api, created_id
from contract_tests.rules.answers import describe_response, expect, expect_problem, expect_violations
from contract_tests.rules.messages import file, list_ids, reference, strip_generated

pytestmark = pytest.mark.needs("sender")

CASE = "flowInstanceId"


def test_exact_duplicates_of_a_reference_are_dropped(api: Api) -> None:
    """The first one keeps its position. References that differ in case or white space are no duplicates."""
    one, other = api.reference("errand"), api.reference("errand")
    differing = [reference("Errand", one["value"]), reference("errand", f"{one['value']} ")]
    sent = [one, other, one, *differing, other, one]
    found = api.read_message(api.create_message(api.message(externalReferences=sent)))
    assert found["externalReferences"] == [one, other, *differing]


def test_key_that_resembles_flow_instance_id_is_an_ordinary_key(api: Api) -> None:
    """Only ASCII letters may differ in case, and nothing is trimmed."""
    keys = (" flowInstanceId", "flowInstanceId\t", "flowInstanceIds", "flow_instance_id", "flowInstance\u0131d")
    about = [
        reference(key, "x") for key in (*keys, "flowIn\u017ftanceId", "flow\u0130nstanceId", "flowInstanceId\u200b")
    ]
    found = api.read_message(api.create_message(api.message(externalReferences=about)))
    assert found["externalReferences"] == about, f"expected {about}, but got {found['externalReferences']}"


def test_reference_may_contain_any_character_but_nul(api: Api) -> None:
    """References are not sent to Open-E, so characters outside XML 1.0 are valid."""
    about = [
        reference("a\x01\x0bb", "\x1f.\x7f\x85\ufffe\uffff"),
        reference("\ud7ff\ue000\ufffd", "\U00010000\U0010ffff"),
    ]
    found = api.read_message(api.create_message(api.message(externalReferences=about)))
    assert found["externalReferences"] == about, f"expected {about}, but got {found['externalReferences']}"


def test_key_of_a_message_may_have_many_values(api: Api) -> None:
    party = api.unused_uuid()
    about = [reference("errand", f"{number} {party}") for number in range(50)]
    id_ = api.create_message(api.message(partyId=party, externalReferences=about))
    for item in (about[0], about[49]):
        assert list_ids(api.read_messages(**item)) == [id_]


@pytest.mark.needs("case")
def test_message_on_a_case_is_published_and_readable(api: Api) -> None:
    about = api.unused_reference()
    sent = api.message(
        partyId=about["value"],
        message='A <contract> check & more]]>\nof two lines &amp; "åäö" </message>',
        externalReferences=[about, reference(CASE, str(api.target.case))],
        attachments=[file(b"1", "b & <c>.txt"), file(b"2", "a.txt")],
    )
    response = expect(api.post_message(sent), 201)
    found = api.read_message(created_id(response))
    assert strip_generated(found) == sent | {"oepInstance": "external"}
    assert list_ids(api.read_messages(**about)) == [found["id"]]
    listed = expect(api.call("GET", f"/webmessages/recipients/{about['value']}"), 200)
    assert list_ids(listed.json()) == [found["id"]], (
        f"expected the message in the list of its party; {describe_response(listed)}"
    )
    attachment = f"/webmessages/{found['id']}/attachments/{found['attachments'][1]['id']}"
    assert expect(api.call("GET", attachment), 200).content == b"2"


@pytest.mark.needs("case")
def test_message_on_a_case_can_be_deleted(api: Api) -> None:
    """The message remains in Open-E; only the service deletes it."""
    about = api.unused_reference()
    id_ = api.create_message(api.message(externalReferences=[about, reference(CASE, str(api.target.case))]))
    expect(api.call("DELETE", f"/webmessages/{id_}"), 204)
    expect_problem(api.get_message(id_), 404)
    assert api.read_messages(**about) == [], "a deleted message must be in no list"


@pytest.mark.needs("case")
def test_message_that_open_e_rejects_is_not_stored(api: Api) -> None:
    """The case is unlikely to exist. If it does, the message is stored like any other."""
    about = api.unused_reference()
    sent = api.message(externalReferences=[about, reference(CASE, "2147483647")])
    response = expect(api.post_message(sent), 201, 404, 500)
    wanted = [created_id(response)] if response.status_code == 201 else []
    if not wanted:
        expect_problem(response, response.status_code)
    found = list_ids(api.read_messages(**about))
    assert found == wanted, (
        f"only a created message may be readable, but {describe_response(response)}, and found {found}"
    )


@pytest.mark.needs("case")
@pytest.mark.parametrize("spelling", ["FLOWINSTANCEID", "flowinstanceid", "FlowInstanceID"])
def test_key_of_a_case_is_normalised(spelling: str, api: Api) -> None:
    about, case = api.reference(), str(api.target.case)
    references = [about, reference(spelling, case), reference(CASE, case), reference(spelling.upper(), case)]
    id_ = api.create_message(api.message(externalReferences=references))
    found = api.read_message(id_)["externalReferences"]
    assert found == [about, reference(CASE, case)], (
        f"every spelling must be stored as {CASE}, without duplicates, but got {found}"
    )


@pytest.mark.needs("case")
def test_message_is_found_by_its_case(api: Api) -> None:
    case = str(api.target.case)
    if len(case) < 3:
        pytest.skip("needs --case with three or more digits, the minimum of look-ups")
    id_ = api.create_message(api.message(externalReferences=[reference("FLOWINSTANCEID", case)]))
    assert id_ in list_ids(api.read_messages(CASE, case))
    assert id_ not in list_ids(api.read_messages("FLOWINSTANCEID", case))


@pytest.mark.needs("case")
def test_refused_message_on_a_case_is_not_stored(api: Api) -> None:
    about = api.reference()
    references = [about, reference(CASE, str(api.target.case))]
    expect_violations(api.post_message(api.message(message=" ", externalReferences=references)), ("message", None))
    assert api.read_messages(**about) == []


def test_message_accepts_at_most_1000_references(api: Api) -> None:
    about = [reference("errand", f"{number} {api.uuid()}") for number in range(1001)]
    found = api.read_message(api.create_message(api.message(externalReferences=about[:1000])))
    assert found["externalReferences"] == about[:1000]
    expect_violations(api.post_message(api.message(externalReferences=about)), ("externalReferences", None))
