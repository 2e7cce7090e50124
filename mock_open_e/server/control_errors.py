"""Errors of the mock's control API: a list of sentences."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.responses import Response

from domain.errors import BudkavleError, Invalid, TooLarge, Violation
from openapi import replies
from openapi.errors import problem_texts, problems
from openapi.errors.faults import Fault, Unreadable
from openapi.errors.problem_texts import BLANK, Texts, describe_required_type, describe_size, describe_xml_text

_NO_JSON = frozenset({"json", "utf-8", "depth"})
_FIELDS = ("fault", "times", "seconds", "every", "operation", "flowInstanceID", "instance")
"""The order in which faults of an order are reported."""

_SENTENCES = {
    "times": "times must be a positive integer",
    "seconds": "seconds must be a number from 0 to 3600",
}

_MOMENT = "must be a time with its offset, such as 2026-02-19T07:57:06+01:00 (in a query, a plus is %2B)"

_TEXTS: Texts = {
    ("message", "required"): BLANK,
    ("message", "type"): describe_required_type,
    ("message", "pattern"): describe_xml_text,
    ("message", "maxLength"): "must be at most 16777215 bytes of UTF-8",
    ("attachments", "maxItems"): describe_size(0, 10),
    ("attachments[].base64Data", "required"): BLANK,
    ("attachments[].base64Data", "type"): describe_required_type,
    ("fromTime", "pattern"): _MOMENT,
    ("toTime", "pattern"): _MOMENT,
}


def describe(fault: Fault, _prefix: str = "") -> Violation | None:
    """Return a fault as a sentence. Unknown fields are sorted first, then fields of an order as in the contract."""
    name = str(fault.path[-1]) if fault.path else ""
    if fault.keyword == "additionalProperties":
        return Violation(name, f"unknown field {name[:100]!r}", index=0)
    if fault.keyword == "unknown":
        return Violation(name, f"unknown parameter {name[:100]!r}", index=0)
    if not fault.path:
        return Violation("body", "the body is not a JSON object", index=0)
    general = problem_texts.build_violation(fault, texts=_TEXTS)
    if general is None:
        return None
    index = _FIELDS.index(general.field) + 1 if general.field in _FIELDS else len(_FIELDS) + 1
    sentence = _SENTENCES.get(general.field, f"{general.field} {general.message}")
    return Violation(general.field, sentence, index=index)


def list_parse_violations(fault: Unreadable) -> Sequence[Violation]:
    """Return the violations for a body that cannot be parsed."""
    if fault.reason in _NO_JSON:
        return [Violation("body", "the body is not JSON")]
    return [Violation("body", f"the body {violation.message}") for violation in fault.violations]


def render_error(error: BudkavleError) -> Response:
    """Return the response for an error, as sentences."""
    if isinstance(error, Invalid):
        return _reply(problems.get_status(error), list(dict.fromkeys(each.message for each in error.violations)))
    if isinstance(error, TooLarge) and error.limit is not None:
        return _reply(problems.get_status(error), [f"the body must be at most {error.limit} bytes"])
    return _reply(problems.get_status(error), [str(error)])


def render_internal_error() -> Response:
    """Return a 500 for an internal error."""
    return _reply(HTTPStatus.INTERNAL_SERVER_ERROR, ["something went wrong in the mock; its log has it"])


def _reply(status: HTTPStatus, errors: list[str]) -> Response:
    return Response(replies.to_json({"errors": errors}), status, media_type=replies.JSON)
