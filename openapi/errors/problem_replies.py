"""Convert errors to responses of the media type `application/problem+json`."""

from http import HTTPStatus

from starlette.responses import Response

from domain.errors import BudkavleError, Unauthenticated
from openapi.errors import problems

KEY_CHALLENGE = 'ApiKey realm="budkavle", header="apikey"'
"""The challenge for callers without a valid key."""


def render_error(error: BudkavleError) -> Response:
    """Return the response to an error, as a problem."""
    status = problems.get_status(error)
    headers = {"Content-Type": problems.MEDIA_TYPE} | problems.get_headers(error)
    response = Response(problems.render_error_problem(error), status, headers=headers)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = KEY_CHALLENGE
    return response


def render_not_found() -> Response:
    """Return a 404 for a path that no contract has."""
    return _build_response(HTTPStatus.NOT_FOUND, "No operation has this path")


def render_method_not_allowed(allowed: str) -> Response:
    """Return a 405 for a method that the contract does not have at this path."""
    response = _build_response(HTTPStatus.METHOD_NOT_ALLOWED, f"This path accepts only {allowed}")
    response.headers["Allow"] = allowed
    return response


def render_internal_error() -> Response:
    """Return a 500 for an internal error."""
    return _build_response(HTTPStatus.INTERNAL_SERVER_ERROR, problems.UNEXPECTED)


def _build_response(status: HTTPStatus, detail: str) -> Response:
    return Response(problems.render_problem(status, detail), status, headers={"Content-Type": problems.MEDIA_TYPE})
