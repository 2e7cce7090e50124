"""Convert errors to responses of the media type `application/problem+json`."""

from http import HTTPStatus

from starlette.responses import Response

from domain.errors import BudkavleError
from openapi.errors import problems


def render_error(error: BudkavleError) -> Response:
    """Return the response to an error, as a problem."""
    status = problems.get_status(error)
    headers = {"Content-Type": problems.MEDIA_TYPE} | problems.get_headers(error)
    response = Response(problems.render_error_problem(error), status, headers=headers)
    add_challenges(response, error)
    return response


def add_challenges(response: Response, error: BudkavleError) -> None:
    """Add the challenges of an error to its response, in one header: many clients parse only one."""
    if error.challenges:
        response.headers["WWW-Authenticate"] = ", ".join(error.challenges)


UNKNOWN_PATH = "No operation has this path"


def render_not_found() -> Response:
    """Return a 404 for a path that no contract has."""
    return _build_response(HTTPStatus.NOT_FOUND, UNKNOWN_PATH)


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
