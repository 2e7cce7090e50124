"""Errors of paths and queries contain the names that the caller used, all in one response."""

from uuid import UUID

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import (
    NO_UUID,
    SIZE,
    expect,
    expect_other_methods,
    expect_problem,
    expect_violations,
)
from contract_tests.rules.messages import file

pytestmark = pytest.mark.needs("sender")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
EMOJI = "%F0%9F%98%80"
LISTS = {
    "getWebMessagesByPartyId": f"/webmessages/recipients/{ID}",
    "getWebMessagesByExternalReference": f"/webmessages/external-references/abc/{ID}",
}
both_lists = pytest.mark.parametrize(("operation", "path"), LISTS.items(), ids=["party", "reference"])
NO_UUIDS = (
    "x",
    ID[:-1],
    f"{ID}0",
    ID.replace("-", ""),
    f"%7B{ID}%7D",
    f"{ID}%0A",
    f"{ID[:-1]}%F0%9D%9F%8F",
    "%2F",
    f"{ID}.json",
)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("text", NO_UUIDS)
def test_id_that_is_not_a_uuid_is_refused(method: str, text: str, api: Api) -> None:
    operation = {"GET": "getWebMessageById", "DELETE": "deleteWebMessageById"}[method]
    expect_violations(api.call(method, f"/webmessages/{text}"), (f"{operation}.id", NO_UUID))


@pytest.mark.parametrize("text", NO_UUIDS)
def test_party_that_is_not_a_uuid_is_refused(text: str, api: Api) -> None:
    path = f"/webmessages/recipients/{text}"
    expect_violations(api.call("GET", path), ("getWebMessagesByPartyId.partyId", NO_UUID))


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("ab", "abc", ["key"]),
        ("abc", "ab", ["value"]),
        ("k" * 129, "v" * 129, ["key", "value"]),
        ("ab", "v" * 129, ["key", "value"]),
        ("%C3%A5%C3%A5", "abc", ["key"]),
        # Two characters, which are four units of UTF-16.
        (EMOJI * 2, EMOJI * 2, ["key", "value"]),
    ],
)
def test_look_up_refuses_references_of_invalid_length(key: str, value: str, wrong: list[str], api: Api) -> None:
    response = api.call("GET", f"/webmessages/external-references/{key}/{value}")
    expect_violations(response, *((f"getWebMessagesByExternalReference.{name}", SIZE) for name in wrong))


def test_look_up_accepts_references_of_minimum_and_maximum_length(api: Api) -> None:
    for key, value in (("abc", "def"), ("k" * 128, "v" * 128), ("%C3%A5" * 128, EMOJI * 3), (EMOJI * 128, EMOJI * 128)):
        expect(api.call("GET", f"/webmessages/external-references/{key}/{value}"), 200)


@pytest.mark.parametrize(
    "text", ["0", "-1", "1001", "abc", "", "1.0", "1e1", "1_0", "%2B1", "%D9%A1", "9" * 1000, "1&limit=2"]
)
@both_lists
def test_limit_outside_1_to_1000_is_refused(operation: str, path: str, text: str, api: Api) -> None:
    expect_violations(api.call("GET", f"{path}?limit={text}"), (f"{operation}.limit", None))


@pytest.mark.parametrize("text", ["1", "1000"])
@both_lists
def test_limit_from_1_to_1000_is_accepted(operation: str, path: str, text: str, api: Api) -> None:
    expect(api.call("GET", f"{path}?limit={text}"), 200)


@pytest.mark.parametrize("text", ["", "garbage", "0", "%00", "%C3%A5", "g" * 46, "0" * 45, "0" * 47, ID])
@both_lists
def test_invalid_cursor_is_refused(operation: str, path: str, text: str, api: Api) -> None:
    expect_violations(api.call("GET", f"{path}?after={text}"), (f"{operation}.after", None))


@both_lists
def test_unknown_query_parameter_is_refused(operation: str, path: str, api: Api) -> None:
    """A misspelt parameter must not be ignored silently."""
    for name in ("offset", "Limit", "page"):
        expect_violations(api.call("GET", f"{path}?{name}=1"), (f"{operation}.{name}", None))


def test_request_with_an_unknown_parameter_deletes_and_returns_nothing(api: Api) -> None:
    id_ = api.create_message(api.message(attachments=[file()]))
    path = f"/webmessages/{id_}/attachments/{api.read_message(id_)['attachments'][0]['id']}"
    expect_violations(api.call("DELETE", f"/webmessages/{id_}?force=1"), ("deleteWebMessageById.force", None))
    expect_violations(api.call("GET", f"{path}?inline=1"), ("getWebMessageAttachment.inline", None))
    expect(api.call("GET", path), 200)


@pytest.mark.parametrize("text", [f"{0:032x}", "f" * 32, "0123456789abcdef" * 2], ids=["nil", "max", "neither"])
def test_uuid_may_be_of_any_version_and_variant(text: str, api: Api) -> None:
    """RFC 9562 defines several versions and variants; the contract only requires hexadecimal digits."""
    named = str(UUID(text))
    id_ = api.create_message(api.message(partyId=named))
    assert api.read_message(id_)["partyId"] == named
    expect(api.call("GET", f"/webmessages/recipients/{named}?limit=1"), 200)
    for method, path in (("GET", named), ("DELETE", named), ("GET", f"{named}/attachments/{named}")):
        expect_problem(api.call(method, f"/webmessages/{path}"), 404)


def test_all_faults_of_path_and_query_are_reported_together(api: Api) -> None:
    expect_violations(
        api.call("GET", "/webmessages/recipients/x?limit=0&after=x&page=1"),
        *((f"getWebMessagesByPartyId.{name}", None) for name in ("after", "limit", "page", "partyId")),
    )
    expect_violations(
        api.call("GET", "/webmessages/x?base64=1"),
        ("getWebMessageById.base64", None),
        ("getWebMessageById.id", NO_UUID),
    )


@pytest.mark.parametrize(
    "path",
    ["/webmessages/", "/Webmessages", f"/webmessages/{ID}/", f"/webmessages/{ID}/attachments", "/webmessages/a/b/c/d"],
)
def test_unknown_path_is_a_problem(path: str, api: Api) -> None:
    """The response is not a redirect either."""
    expect_problem(api.call("GET", path), 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/webmessages", {"POST"}),
        (f"/webmessages/{ID}", {"DELETE", "GET"}),
        (f"/webmessages/{ID}/attachments/{ID}", {"GET"}),
        *((path, {"GET"}) for path in LISTS.values()),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_unsupported_method_is_refused_with_the_supported_ones(
    path: str, allowed: set[str], method: str, api: Api
) -> None:
    if method not in allowed:
        expect_other_methods(api.call(method, path), *allowed)
