"""Query strings that no generated client sends."""

import pytest

from contract_tests.attacks import assert_violations, request
from contract_tests.target import CheckTarget

pytestmark = pytest.mark.needs("sender")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
PARTY = f"/webmessages/recipients/{ID}"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=1_0", ["limit"]),
        ("limit=+1", ["limit"]),
        ("limit=%2B1", ["limit"]),
        ("limit=%201", ["limit"]),
        ("limit=1%0a", ["limit"]),
        ("limit=1.0", ["limit"]),
        ("limit=1e1", ["limit"]),
        ("limit=0x1", ["limit"]),
        ("limit=true", ["limit"]),
        ("limit=null", ["limit"]),
        ("limit=[1]", ["limit"]),
        ("limit=0", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=1001", ["limit"]),
        pytest.param("limit=" + "9" * 5000, ["limit"], id="5,000 digits"),
        pytest.param("limit=-" + "9" * 4000, ["limit"], id="4,000 digits below zero"),
        ("limit=", ["limit"]),
        ("limit", ["limit"]),
        ("limit=%00", ["limit"]),
        ("limit=%zz", ["limit"]),
        ("limit=1&limit=2", ["limit"]),
        ("limit=1&limit=1", ["limit"]),
        ("limit=1;limit=2", ["limit"]),
        ("limit=1%26limit=2", ["limit"]),
        ("limit[]=1", ["limit[]"]),
        ("LIMIT=1", ["LIMIT"]),
        ("after=", ["after"]),
        ("after=zz", ["after"]),
        ("after=%00", ["after"]),
        ("after=" + "f" * 42, ["after"]),
        ("after=" + "F" * 46, ["after"]),
        ("after=" + "f" * 46 + "%0a", ["after"]),
        ("unknown=1", ["unknown"]),
        ("apikey=x", ["apikey"]),
        ("=1", [""]),
        # Some JavaScript servers drop a second question mark.
        pytest.param("?limit=1", ["?limit"], marks=pytest.mark.own),
        ("limit=0&after=x&unknown=1&other=2", ["limit", "after", "unknown", "other"]),
    ],
)
def test_query_outside_the_contract_is_refused(query: str, fields: list[str], target: CheckTarget) -> None:
    answer = target.send(request(target=f"{PARTY}?{query}"))
    assert_violations(answer, *(f"getWebMessagesByPartyId.{field}" for field in fields))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=%EF%BC%91", ["limit"]),
        ("limit=%ff", ["limit"]),
        ("after=%C3%A5", ["after"]),
        ("after=%ed%a0%80", ["after"]),
        ("limit=0&%C3%A5=1", ["limit", "å"]),
        ("limit=%ff&after=%ff&unknown=%ff", ["limit", "after", "unknown"]),
    ],
)
def test_non_ascii_query_is_refused_with_the_names_of_its_parameters(
    query: str, fields: list[str], target: CheckTarget
) -> None:
    answer = target.send(request(target=f"{PARTY}?{query}"))
    assert_violations(answer, *(f"getWebMessagesByPartyId.{field}" for field in fields))
    assert not answer.is_direct or "must have at most" not in answer.body.decode()


@pytest.mark.parametrize(
    "query",
    ["&".join(f"a{number}=1" for number in range(5000)), "a=1&" * 10_000],
    ids=["5,000 names", "one name 10,000 times"],
)
def test_query_with_too_many_parameters_is_refused(query: str, target: CheckTarget) -> None:
    assert_violations(target.send(request(target=f"{PARTY}?{query}")), "getWebMessagesByPartyId.query")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        pytest.param("/health/live", "getHealthLive.verbose", marks=pytest.mark.own),
        pytest.param("/health/ready", "getHealthReady.verbose", marks=pytest.mark.own),
        (f"/webmessages/{ID}", "getWebMessageById.verbose"),
        (f"/webmessages/{ID}/attachments/{ID}", "getWebMessageAttachment.verbose"),
        ("/webmessages/external-references/abc/def", "getWebMessagesByExternalReference.verbose"),
    ],
)
def test_unknown_query_parameter_is_refused_everywhere(path: str, field: str, target: CheckTarget) -> None:
    assert_violations(target.send(request(target=f"{path}?verbose=1")), field)


@pytest.mark.parametrize(
    "query",
    [
        "limit=1",
        pytest.param("limit=01", marks=pytest.mark.own),
        "limit=1000",
        "after=" + "0" * 46,
        "after=" + "f" * 46,
        "",
        "&" * 200,
    ],
)
def test_query_of_the_contract_is_accepted(query: str, target: CheckTarget) -> None:
    assert target.send(request(target=f"{PARTY}?{query}")).status == 200
