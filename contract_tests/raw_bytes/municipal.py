"""What the raw requests to both compatibility APIs have in common: places that do not exist, and the form of errors."""

import json

from contract_tests.attacks import REASONS, assert_refused, request
from contract_tests.raw_http import CLOSED, RawResponse
from contract_tests.target import CheckTarget

BAD_SEGMENTS = ("%ff", "%ed%a0%80", "%c0%af", "%00", "%2e%2e", "2281%2Fx", "%C3%A5", "2281%00", "%32%32%38%31%20", "-1")
"""Segments that are no municipality, or that no handler may get."""


def assert_no_message(answer: RawResponse | None, name: str) -> None:
    """Assert that the response is a problem of the contract, or that the connection was closed.

    `name` is that of the request, for the report.
    """
    if answer is None or answer is CLOSED or not answer.is_direct:
        assert_refused(answer)
        return
    assert answer.status in {400, 413, 415, 431}, (name, answer.status, answer.body[:300])
    assert answer.media_type == "application/problem+json", (name, answer.headers)
    problem = json.loads(answer.body)
    # The HTTP parser rejects some requests before the contract is known.
    status = problem["status"] if isinstance(problem["status"], int) else problem["status"]["statusCode"]
    assert status == answer.status, (name, problem)
    assert problem["title"] in {REASONS[answer.status], "Constraint Violation"}, (name, problem)


def assert_bad_segments_are_refused(target: CheckTarget, rest: str) -> None:
    """Assert that no municipality but a valid one is read. `rest` is the path after it."""
    for segment in BAD_SEGMENTS:
        answer = target.send(request(target=f"/{segment}{rest}"))
        assert_refused(answer)
        assert answer is CLOSED or not answer.is_direct or answer.status in {400, 404}, (segment, answer.status)
