"""The form of errors: the table of statuses, and the problem+json of the published contract."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TypeVar

from domain import errors

T = TypeVar("T")

_STATUS: dict[type[errors.BudkavleError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.BAD_REQUEST,
    errors.CallerRefused: HTTPStatus.FORBIDDEN,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.TooManyFailures: HTTPStatus.TOO_MANY_REQUESTS,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.NotOffered: HTTPStatus.NOT_IMPLEMENTED,
    errors.CaseMissing: HTTPStatus.BAD_REQUEST,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.KeyInUse: HTTPStatus.CONFLICT,
    errors.KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    # The contract has one response for all errors that are not the caller's.
    errors.StorageRejected: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StorageFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CircuitOpen: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.IssuerKeysMissing: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.PersonLookUpFailed: HTTPStatus.BAD_GATEWAY,
    errors.PersonLookUpTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    errors.BackendFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_PHRASES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}
"""Phrases of RFC 9110 that are older in Python 3.11."""

UNEXPECTED = "Something went wrong in the service; nothing is known of the cause here, the log has it"

_RETRY_AFTER_SECONDS: dict[type[errors.BudkavleError], int] = {
    errors.StorageRejected: 0,
    errors.StorageFailed: 5,
    errors.Overloaded: 5,
    errors.CircuitOpen: 5,
    errors.TooManyFailures: 1,
    errors.KeyInUse: 2,
}
"""Seconds after which a caller should retry; 0 for errors that a retry does not remedy."""

MEDIA_TYPE = "application/problem+json"


def get_status(error: errors.BudkavleError) -> HTTPStatus:
    """Return the status of an error; 500 for unlisted kinds."""
    return _find(_STATUS, error, HTTPStatus.INTERNAL_SERVER_ERROR)


def get_headers(error: errors.BudkavleError) -> dict[str, str]:
    """Return the headers of the response to an error in every contract."""
    if isinstance(error, errors.IssuerKeysMissing):
        return {"Retry-After": str(error.retry_after)}
    seconds = _find(_RETRY_AFTER_SECONDS, error, 0)
    return {"Retry-After": str(seconds)} if seconds else {}


def _find(table: Mapping[type[errors.BudkavleError], T], error: errors.BudkavleError, default: T) -> T:
    """Return the entry of the nearest kind of an error."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), default)


def get_phrase(status: HTTPStatus) -> str:
    """Return the reason phrase of RFC 9110."""
    return _PHRASES.get(status, status.phrase)


def render_problem(status: HTTPStatus, detail: str | None = None, title: str | None = None) -> bytes:
    """Return a problem as JSON. `status` is an object in this contract."""
    return _encode(_build_head(status, detail, title))


def render_error_problem(error: errors.BudkavleError) -> bytes:
    """Return an error as a problem: a validation error with all its violations."""
    status = get_status(error)
    if not isinstance(error, errors.Invalid):
        return render_problem(status, str(error))
    head = _build_head(status, None, "Constraint Violation")
    violations = [{"field": violation.field, "message": violation.message} for violation in error.violations]
    return _encode({**head, "violations": violations})


def _build_head(status: HTTPStatus, detail: str | None, title: str | None) -> dict[str, object]:
    phrase = get_phrase(status)
    head: dict[str, object] = {
        "title": title or phrase,
        "status": {"statusCode": int(status), "reasonPhrase": phrase},
    }
    if detail is not None:
        head["detail"] = detail
    return head


def _encode(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
