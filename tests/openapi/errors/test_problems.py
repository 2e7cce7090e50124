"""Errors in responses."""

import json
from typing import Any

import pytest

from domain import errors
from domain.errors import BudkavleError, CallerRefused, Invalid, RefusalReason, Violation
from openapi.errors.problems import get_status, render_error_problem, render_problem

STATUSES = {
    errors.Invalid: 400,
    errors.CallerRefused: 403,
    errors.Unauthenticated: 401,
    errors.KeyNeeded: 401,
    errors.TokenRejected: 401,
    errors.TooManyFailures: 429,
    errors.Forbidden: 403,
    errors.LacksScope: 403,
    errors.PublicationForbidden: 403,
    errors.NotFound: 404,
    errors.NotOffered: 501,
    errors.MunicipalityNotServed: 501,
    errors.CaseMissing: 400,
    errors.EventNotFound: 404,
    errors.Conflict: 409,
    errors.KeyInUse: 409,
    errors.KeyReused: 422,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.BackendFailed: 500,
    errors.BackendRefused: 500,
    errors.AccessDenied: 500,
    errors.BackendUnavailable: 500,
    errors.OutcomeUnknown: 500,
    errors.ResponseTimedOut: 500,
    errors.ConnectionLost: 500,
    errors.CircuitOpen: 503,
    errors.PersonLookUpFailed: 502,
    errors.PersonLookUpTimedOut: 504,
    errors.IssuerKeysMissing: 503,
    errors.StorageFailed: 503,
    errors.StorageBlocked: 503,
    errors.StorageRejected: 500,
    errors.StorageUncertain: 503,
    errors.Overloaded: 503,
    # Callers get it as a violation of the request.
    errors.UnknownType: 500,
}


@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
def test_status_of_returns_the_documented_status_of_every_error(kind: type[BudkavleError], status: int) -> None:
    assert get_status(_build_error(kind)) == status


def _build_error(kind: type[Any]) -> BudkavleError:
    error: BudkavleError
    if issubclass(kind, CallerRefused):
        error = kind(RefusalReason.UNKNOWN_KEY)
    else:
        error = kind([]) if kind is Invalid else kind()
    return error


def test_status_of_covers_every_error() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BudkavleError)}
    missing = kinds - {BudkavleError} - set(STATUSES)
    assert not missing, (
        f"add to STATUSES, and to openapi/errors/problems.py: _STATUS unless it is that of its base: {missing}"
    )


def test_status_of_a_subclass_is_that_of_its_base() -> None:
    class NoSuchParty(errors.NotFound):
        """There is no such party."""

    assert get_status(NoSuchParty()) == 404


def test_problem_of_an_error_contains_its_message() -> None:
    assert json.loads(render_error_problem(errors.NotFound("no å"))) == {
        "title": "Not Found",
        "status": {"statusCode": 404, "reasonPhrase": "Not Found"},
        "detail": "no å",
    }


def test_problem_of_violations_is_sorted_by_field_without_duplicates() -> None:
    violations = [Violation("b", "2"), Violation("a", "2"), Violation("b", "2"), Violation("a", "1")]
    assert json.loads(render_error_problem(Invalid(violations))) == {
        "title": "Constraint Violation",
        "status": {"statusCode": 400, "reasonPhrase": "Bad Request"},
        "violations": [
            {"field": "a", "message": "1"},
            {"field": "a", "message": "2"},
            {"field": "b", "message": "2"},
        ],
    }


def test_problem_has_the_phrase_of_rfc_9110() -> None:
    from http import HTTPStatus

    value = json.loads(render_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
    assert value == {
        "title": "Content Too Large",
        "status": {"statusCode": 413, "reasonPhrase": "Content Too Large"},
    }
