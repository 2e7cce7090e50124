"""Assertions about responses. Their messages contain the expected and the received response."""

from collections.abc import Iterable, Sequence
from typing import Any

import requests

PROBLEM = "application/problem+json"
REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
}
"""The statuses whose reason phrase has never changed."""
ERROR_NAMES = {"orgtype", "orgcode", "entitytype", "errorCode", "message", "index", "field"}

NO_UUID = "not a valid UUID"
BLANK = "must not be blank"
REFERENCES = "can not be empty or contain elements with empty keys or values"
NO_CASE = "element with key 'flowInstanceId' must have value of numeric type"
SIZE = "size must be between 3 and 128"
"""Texts that the published contract of web messages specifies."""

Place = tuple[int | None, str | None, int]
"""The place of an error: index, field and errorCode."""


def describe_response(response: requests.Response) -> str:
    """Return a response as one line of text."""
    request = response.request
    return f"the response to {request.method} {request.path_url} is {response.status_code}: {response.text[:2000]}"


def expect(response: requests.Response, *statuses: int) -> requests.Response:
    """Return the response, after asserting that it has one of these statuses."""
    wanted = " or ".join(map(str, statuses))
    assert response.status_code in statuses, f"expected {wanted}, but {describe_response(response)}"
    if media_type(response).endswith("json"):
        _expect_utf_8(response)
    return response


def _expect_utf_8(response: requests.Response) -> None:
    """Assert that JSON is UTF-8 without a byte order mark (RFC 8259, section 8.1), and declares no other charset."""
    charset = (
        response.headers["Content-Type"].lower().replace('"', "").partition("charset=")[2].partition(";")[0].strip()
    )
    assert charset in {"", "utf-8"}, (
        f"the charset of JSON must be UTF-8, but the Content-Type declares {charset}; {describe_response(response)}"
    )
    try:
        text = response.content.decode()
    except UnicodeDecodeError:
        raise AssertionError(f"JSON must be encoded in UTF-8, but was {response.content[:300]!r}") from None
    assert not text.startswith("\ufeff"), (
        f"JSON must not begin with a byte order mark, but was {response.content[:300]!r}"
    )


def media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def expect_problem(response: requests.Response, status: int) -> dict[str, Any]:
    """Return the problem in a response, after asserting its form (RFC 9457, but `status` is an object here)."""
    expect(response, status)
    assert media_type(response) == PROBLEM, (
        f"the Content-Type must be {PROBLEM}, but was {media_type(response)}; {describe_response(response)}"
    )
    value: dict[str, Any] = response.json()
    assert {"title", "status"} <= set(value), f"a problem must have title and status, but {describe_response(response)}"
    names = {"statusCode", "reasonPhrase"}
    assert isinstance(value["status"], dict), (
        f"the status of a problem must be an object, but {describe_response(response)}"
    )
    assert names <= set(value["status"]), (
        f"the status of a problem must have statusCode and reasonPhrase, but {describe_response(response)}"
    )
    assert value["status"]["statusCode"] == status, (
        f"status.statusCode must be {status}, but {describe_response(response)}"
    )
    phrase = value["status"]["reasonPhrase"]
    assert phrase == REASONS.get(status, phrase), (
        f"reasonPhrase must be {REASONS[status]}, but {describe_response(response)}"
    )
    title = "Constraint Violation" if status == 400 else REASONS.get(status, value["title"])
    assert value["title"] == title, f"the title must be {title}, but {describe_response(response)}"
    return value


def expect_other_methods(response: requests.Response, *allowed: str) -> None:
    """Assert that a response rejects the method and lists those of the contract (RFC 9110, section 15.5.6).

    Servers may also support HEAD and OPTIONS.
    """
    expect_problem(response, 405)
    methods = {name.strip().upper() for name in response.headers.get("Allow", "").split(",")}
    wanted = f"expected Allow to contain {sorted(allowed)} and optionally HEAD and OPTIONS"
    assert set(allowed) <= methods <= {*allowed, "HEAD", "OPTIONS"}, f"{wanted}, but was {sorted(methods)}"


def expect_violations(response: requests.Response, *wanted: tuple[str, str | None]) -> None:
    """Assert that the response is a 400 with exactly these fields, sorted. A text of None matches any text."""
    value = expect_problem(response, 400)
    assert "violations" in value, f"a 400 must have violations, but {describe_response(response)}"
    found = [(item["field"], item["message"]) for item in value["violations"]]
    fields = sorted(field for field, _ in wanted)
    assert [field for field, _ in found] == fields, (
        f"all violations must be reported together, sorted by field: expected {fields}, "
        f"but {describe_response(response)}"
    )
    for field, text in wanted:
        texts = [message for name, message in found if name == field]
        assert all(texts), f"a violation must have a message, but {describe_response(response)}"
        assert text is None or text in texts, f"expected {field}: {text!r}, but {describe_response(response)}"


def expect_errors(response: requests.Response, status: int, *places: Place) -> list[dict[str, Any]]:
    """Return the errors in a response of /v1, after asserting that they are these, in the contract's order."""
    errors = expect_error_list(response, status)
    found = [get_place(error) for error in errors]
    wanted = sort_places(places)
    assert found == wanted, (
        "all errors of all entries must be reported together, sorted by index (null first), field and errorCode:"
        f"\nexpected {wanted}\nbut was  {found}\n{describe_response(response)}"
    )
    return errors


def expect_error_list(response: requests.Response, status: int) -> list[dict[str, Any]]:
    """Return the errors in a response of /v1, after asserting their form."""
    expect(response, status)
    assert media_type(response) == "application/json", f"expected application/json, but {describe_response(response)}"
    assert response.headers.get("x-requestId"), (
        f"every response must have the header x-requestId, but {describe_response(response)}"
    )
    errors: list[dict[str, Any]] = response.json()["errors"]
    for error in errors:
        assert set(error) == ERROR_NAMES, (
            f"an error must have the properties {sorted(ERROR_NAMES)}, but {describe_response(response)}"
        )
        assert error["message"], f"an error must have a message, but {describe_response(response)}"
    return errors


def get_place(error: dict[str, Any]) -> Place:
    return error["index"], error["field"], error["errorCode"]


def sort_places(places: Iterable[Place]) -> Sequence[Place]:
    """Return the places in the order that the contract specifies."""
    return sorted(places, key=lambda item: (-1 if item[0] is None else item[0], item[1] or "", item[2]))
