"""What answers must be, and what is said when they are not: what was expected, and what came."""

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
"""Those that HTTP has always called the same."""
ERROR_NAMES = {"orgtype", "orgcode", "entitytype", "errorCode", "message", "index", "field"}

NO_UUID = "not a valid UUID"
BLANK = "must not be blank"
REFERENCES = "can not be empty or contain elements with empty keys or values"
NO_CASE = "element with key 'flowInstanceId' must have value of numeric type"
SIZE = "size must be between 3 and 128"
"""Texts that the published contract of web messages gives."""

Place = tuple[int | None, str | None, int]
"""Of an error: index, field and errorCode."""


def told(response: requests.Response) -> str:
    """An answer in one line."""
    request = response.request
    return f"{request.method} {request.path_url} was answered {response.status_code}: {response.text[:2000]}"


def expect(response: requests.Response, *statuses: int) -> requests.Response:
    """The answer, whose status must be one of these."""
    wanted = " or ".join(map(str, statuses))
    assert response.status_code in statuses, f"expected {wanted}, but {told(response)}"
    if media_type(response).endswith("json"):
        _expect_utf_8(response)
    return response


def _expect_utf_8(response: requests.Response) -> None:
    """JSON is UTF-8 without a mark (RFC 8259, section 8.1), and is not said to be anything else."""
    said = response.headers["Content-Type"].lower().replace('"', "").partition("charset=")[2].partition(";")[0].strip()
    assert said in {"", "utf-8"}, f"JSON is UTF-8, but the Content-Type says {said}; {told(response)}"
    try:
        text = response.content.decode()
    except UnicodeDecodeError:
        raise AssertionError(f"JSON is UTF-8, but was {response.content[:300]!r}") from None
    assert not text.startswith("\ufeff"), f"JSON begins with no mark, but was {response.content[:300]!r}"


def media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def expect_problem(response: requests.Response, status: int) -> dict[str, Any]:
    """The problem (RFC 9457, whose `status` is an object here) that the answer must be."""
    expect(response, status)
    assert media_type(response) == PROBLEM, f"expected {PROBLEM}, but was {media_type(response)}; {told(response)}"
    value: dict[str, Any] = response.json()
    assert {"title", "status"} <= set(value), f"a problem has title and status, but {told(response)}"
    names = {"statusCode", "reasonPhrase"}
    assert isinstance(value["status"], dict), f"the status of a problem is an object, but {told(response)}"
    assert names <= set(value["status"]), (
        f"the status of a problem has statusCode and reasonPhrase, but {told(response)}"
    )
    assert value["status"]["statusCode"] == status, f"status.statusCode must be {status}, but {told(response)}"
    phrase = value["status"]["reasonPhrase"]
    assert phrase == REASONS.get(status, phrase), f"reasonPhrase must be {REASONS[status]}, but {told(response)}"
    title = "Constraint Violation" if status == 400 else REASONS.get(status, value["title"])
    assert value["title"] == title, f"the title must be {title}, but {told(response)}"
    return value


def expect_other_methods(response: requests.Response, *allowed: str) -> None:
    """The answer to a method that a path does not have: it names those of the contract (RFC 9110, section 15.5.6).

    Whether HEAD and OPTIONS are answered beside is the server's own.
    """
    expect_problem(response, 405)
    given = {name.strip().upper() for name in response.headers.get("Allow", "").split(",")}
    wanted = f"expected Allow to name {sorted(allowed)} and at most HEAD and OPTIONS beside"
    assert set(allowed) <= given <= {*allowed, "HEAD", "OPTIONS"}, f"{wanted}, but was {sorted(given)}"


def expect_violations(response: requests.Response, *wanted: tuple[str, str | None]) -> None:
    """The answer must be a 400 that names exactly these fields, by field; a text of None may be any."""
    value = expect_problem(response, 400)
    assert "violations" in value, f"a 400 has violations, but {told(response)}"
    found = [(item["field"], item["message"]) for item in value["violations"]]
    fields = sorted(field for field, _ in wanted)
    assert [field for field, _ in found] == fields, (
        f"every fault must be named at once, sorted by field: expected violations of {fields}, but {told(response)}"
    )
    for field, text in wanted:
        texts = [message for name, message in found if name == field]
        assert all(texts), f"a violation must say what is wrong, but {told(response)}"
        assert text is None or text in texts, f"expected {field}: {text!r}, but {told(response)}"


def expect_errors(response: requests.Response, status: int, *places: Place) -> list[dict[str, Any]]:
    """The errors of an answer of /v1, which must be exactly these, in the order of the contract."""
    errors = expect_error_list(response, status)
    found = [place(error) for error in errors]
    wanted = sort_places(places)
    assert found == wanted, (
        "every error of every entry must be listed, sorted by index (null first), field, errorCode:"
        f"\nexpected {wanted}\nbut was  {found}\n{told(response)}"
    )
    return errors


def expect_error_list(response: requests.Response, status: int) -> list[dict[str, Any]]:
    """The errors of an answer of /v1."""
    expect(response, status)
    assert media_type(response) == "application/json", f"expected application/json, but {told(response)}"
    assert response.headers.get("x-requestId"), f"every answer has an x-requestId, but {told(response)}"
    errors: list[dict[str, Any]] = response.json()["errors"]
    for error in errors:
        assert set(error) == ERROR_NAMES, f"an error has {sorted(ERROR_NAMES)}, but {told(response)}"
        assert error["message"], f"an error must say what is wrong, but {told(response)}"
    return errors


def place(error: dict[str, Any]) -> Place:
    return error["index"], error["field"], error["errorCode"]


def sort_places(places: Iterable[Place]) -> Sequence[Place]:
    """In the order that the contract publishes."""
    return sorted(places, key=lambda item: (-1 if item[0] is None else item[0], item[1] or "", item[2]))
