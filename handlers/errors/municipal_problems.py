"""The problems of the compatibility APIs: an integer as status, and the texts that their owner published."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus

from starlette.responses import Response

from domain.errors import AccessDenied, BudkavleError, Invalid, Violation
from handlers.errors import problem_texts
from openapi.errors import problem_replies, problems
from openapi.errors.faults import Fault
from openapi.errors.forms import ErrorForm
from openapi.errors.problem_texts import BLANK, Texts, describe_required_type, describe_size, list_parse_violations

IGNORED = frozenset({"unknown"})
"""Faults that the published services do not report."""

Statuses = Mapping[type[BudkavleError], HTTPStatus]

DENIED_TO_CALLER: Statuses = {AccessDenied: HTTPStatus.UNAUTHORIZED}
"""WebMessageSender passes on that Open-E denied access."""

_NO_UUID = "not a valid UUID"
_NO_INSTANCE = "instance can only be 'internal' or 'external'"

_TEXTS: Texts = {
    **problem_texts.TEXTS,
    ("municipalityId", "enum"): "not a valid municipality ID",
    ("id", "maxLength"): _NO_UUID,
    ("partyId", "maxLength"): _NO_UUID,
    ("sender.partyId", "pattern"): _NO_UUID,
    ("sender.partyId", "maxLength"): _NO_UUID,
    ("oepInstance", "required"): _NO_INSTANCE,
    ("oepInstance", "type"): _NO_INSTANCE,
    ("oepInstance", "pattern"): _NO_INSTANCE,
    ("externalReferences[].key", "maxLength"): describe_size(1, 255),
    ("externalReferences[].value", "maxLength"): describe_size(1, 255),
    ("sender.userId", "maxLength"): describe_size(0, 255),
    ("sender.administratorId", "maxLength"): describe_size(0, 255),
    ("message", "type"): describe_required_type,
}


def build_form(published_ids: dict[str, str], statuses: Statuses) -> ErrorForm:
    """Return the form of errors of a contract, given the published ids of its operations by those of the contract.

    `statuses` are those of kinds of errors that differ from the other contracts.
    """
    render = partial(render_error, statuses=statuses)
    return ErrorForm(_build_describe(published_ids), list_parse_violations, render, render_internal_error)


def _build_describe(published_ids: dict[str, str]) -> Callable[[Fault, str], Violation | None]:
    def describe(fault: Fault, prefix: str = "") -> Violation | None:
        if fault.keyword in IGNORED or (fault.keyword == "twice" and fault.path == ["X-Sent-By"]):
            return None
        if not fault.path and fault.keyword == "anyOf":
            return _describe_missing_text(fault)
        operation = prefix.removesuffix(".")
        published = f"{published_ids[operation]}." if operation in published_ids else prefix
        return problem_texts.build_violation(fault, published, _TEXTS)

    return describe


def _describe_missing_text(fault: Fault) -> Violation | None:
    """Return the violation of a message to a case without text, None if another fault of the text is reported."""
    text = fault.value.get("message") if isinstance(fault.value, dict) else None
    is_missing = text is None or (isinstance(text, str) and not text.strip())
    return Violation("message", BLANK) if is_missing else None


def render_error(error: BudkavleError, statuses: Statuses) -> Response:
    """Return the response to an error, as a problem whose status is an integer."""
    status = statuses.get(type(error)) or problems.get_status(error)
    response = _build_response(status, error)
    response.headers.update(problems.get_headers(error))
    problem_replies.add_challenges(response, error)
    return response


def render_internal_error() -> Response:
    """Return a 500 for an internal error."""
    return _build_response(HTTPStatus.INTERNAL_SERVER_ERROR, problems.UNEXPECTED)


def _build_response(status: HTTPStatus, error: BudkavleError | str) -> Response:
    problem: dict[str, object] = {"title": problems.get_phrase(status), "status": int(status)}
    if isinstance(error, Invalid):
        violations = [{"field": violation.field, "message": violation.message} for violation in error.violations]
        problem |= {"title": "Constraint Violation", "violations": violations}
    else:
        problem["detail"] = str(error)
    text = json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(text, status, headers={"Content-Type": problems.MEDIA_TYPE})
