"""The error lists of the subscriptions: `{"errors": [...]}`, each error with its number, in Danish."""

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from starlette.responses import Response

from domain import errors
from domain.errors import BudkavleError, Invalid, RefusalReason, Violation
from domain.subscriptions import ErrorCode
from handlers.errors.error_list_texts import NOT_VALID
from openapi import replies
from openapi.errors import problem_replies, problems

_INTERNAL = (ErrorCode.INTERNAL, "Intern fejl i servicen; intet er ændret")

_KIND = {
    errors.StorageRejected: _INTERNAL,
    errors.StorageFailed: (ErrorCode.INTERNAL, "Servicen er ikke tilgængelig lige nu; prøv igen"),
    errors.Overloaded: (ErrorCode.INTERNAL, "Servicen er ikke tilgængelig lige nu; prøv igen"),
    errors.KeyNeeded: (
        ErrorCode.NO_KEY,
        "API-nøgle mangler i headeren apikey, er ikke kendt eller er trukket tilbage",
    ),
    errors.PublicationForbidden: (
        ErrorCode.NO_ACCESS,
        "API-nøglen eller adgangstokenet giver ikke adgang til at oprette beskeder med den angivne orgType og orgCode",
    ),
    errors.LacksScope: (
        ErrorCode.NO_ACCESS,
        "API-nøglen eller adgangstokenet giver ikke adgang til at oprette beskeder",
    ),
    errors.TokenRejected: (ErrorCode.NO_KEY, "Adgangstokenet er ikke gyldigt"),
    errors.IssuerKeysMissing: (ErrorCode.INTERNAL, "Servicen er ikke tilgængelig lige nu; prøv igen"),
    errors.Unauthenticated: (
        ErrorCode.NO_CERTIFICATE,
        "Klientcertifikat mangler i requestet, er ikke kendt eller er uden for sin gyldighedsperiode",
    ),
    errors.Forbidden: (
        ErrorCode.NO_ACCESS,
        "Klientcertifikatet har ikke adgang til et system med den angivne systemIdentifier",
    ),
    errors.Conflict: (ErrorCode.ANOTHER_EVENT, "Der er allerede oprettet en anden besked med samme beskedId"),
    errors.EventNotFound: (
        ErrorCode.NO_EVENT,
        "Der findes ingen besked med den angivne beskedId, som du har adgang til",
    ),
    errors.NotFound: (
        ErrorCode.NO_SUBSCRIPTION,
        "Systemet har intet abonnement med den angivne orgType, orgCode og entityType",
    ),
    errors.UnsupportedMediaType: (
        ErrorCode.NOT_VALID,
        f"{NOT_VALID}: body skal være application/json og må ikke være komprimeret",
    ),
}
"""Code and text by kind of error. The first matching kind is used."""

_TOO_MANY_FAILURES = "For mange kald uden gyldig adgang fra denne adresse; prøv igen om et sekund"

_SUBJECT = ("orgType", "orgCode", "entityType")

MAX_SUBJECT = 2**63
"""Larger integers are returned as null, because callers parse 64-bit integers."""


class InvalidEntries(Invalid):
    """The request breaks the contract or its rules.

    The indexes of violations refer to `entries`. Violations without an index concern `whole`, the object of the body.
    """

    def __init__(self, violations: Iterable[Violation], entries: Sequence[Any], whole: Any = None) -> None:
        super().__init__(violations)
        self.entries = entries
        self.whole = whole


def render_error(error: BudkavleError) -> Response:
    """Return the response to an error, as a list of errors."""
    status = problems.get_status(error)
    if isinstance(error, Invalid):
        invalid = error if isinstance(error, InvalidEntries) else InvalidEntries(error.violations, ())
        # Encode them one by one, because the JSON encoder holds the GIL while it runs.
        items = [replies.to_json(_encode_violation(violation, invalid)) for violation in invalid.violations]
        body = b'{"errors":[%s]}' % b",".join(items)
    else:
        body = replies.to_json({"errors": [_encode_call_error(*_find_kind(error))]})
    response = Response(body, status, problems.get_headers(error), media_type=replies.JSON)
    problem_replies.add_challenges(response, error)
    return response


def render_internal_error() -> Response:
    """Return a 500 for an internal error."""
    return render_error(BudkavleError())


def _find_kind(error: BudkavleError) -> tuple[ErrorCode, str]:
    if isinstance(error, errors.TooLarge):
        return ErrorCode.NOT_VALID, f"{NOT_VALID}: body må højst fylde {error.limit} bytes"
    if isinstance(error, errors.TooManyFailures):
        return find_missing_credential(error.reason), _TOO_MANY_FAILURES
    return next((kind for cls, kind in _KIND.items() if isinstance(error, cls)), _INTERNAL)


def find_missing_credential(reason: RefusalReason) -> ErrorCode:
    """Return the code of the credential that a rejected caller needs: a key or token, or a certificate."""
    match reason:
        case (
            RefusalReason.NO_KEY
            | RefusalReason.SEVERAL_KEYS
            | RefusalReason.UNKNOWN_KEY
            | RefusalReason.EXPIRED_KEY
            | RefusalReason.KEY_LACKS_SCOPE
            | RefusalReason.PUBLICATION_NOT_AUTHORISED
            | RefusalReason.INVALID_TOKEN
            | RefusalReason.TOKEN_LACKS_SCOPE
        ):
            return ErrorCode.NO_KEY
        case (
            RefusalReason.NO_CERTIFICATE
            | RefusalReason.CERTIFICATE_UNREADABLE
            | RefusalReason.CERTIFICATE_OUTSIDE_DATES
            | RefusalReason.UNKNOWN_CERTIFICATE
            | RefusalReason.SYSTEM_NOT_AUTHORISED
        ):
            return ErrorCode.NO_CERTIFICATE
        case _ as unreachable:
            assert_never(unreachable)


def _encode_violation(violation: Violation, invalid: InvalidEntries) -> dict[str, Any]:
    # An index outside the entries is a position in another list.
    index = violation.index
    entry = invalid.entries[index] if index is not None and index < len(invalid.entries) else invalid.whole
    values = [entry.get(name) if isinstance(entry, dict) else None for name in _SUBJECT]
    org_type, org_code, entity_type = (value if _is_integer(value) else None for value in values)
    return {
        "orgtype": org_type,
        "orgcode": org_code,
        "entitytype": entity_type,
        "errorCode": violation.code,
        "message": violation.message,
        "index": violation.index,
        "field": violation.field or None,
    }


def _is_integer(value: object) -> bool:
    return type(value) is int and -MAX_SUBJECT <= value < MAX_SUBJECT


def _encode_call_error(code: ErrorCode, message: str) -> dict[str, Any]:
    return {
        "orgtype": None,
        "orgcode": None,
        "entitytype": None,
        "errorCode": code,
        "message": message,
        "index": None,
        "field": None,
    }
