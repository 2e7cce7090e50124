"""Deliveries: the outcome of responses, and the time of the next attempt."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries import (
    JITTER,
    LONGEST_WAIT,
    AttemptOutcome,
    Reason,
    ReceiverResponse,
    decide_outcome,
    retry_delay,
)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (100, AttemptOutcome.PARK),
        (101, AttemptOutcome.PARK),
        (199, AttemptOutcome.PARK),
        (200, AttemptOutcome.DONE),
        (201, AttemptOutcome.DONE),
        (202, AttemptOutcome.DONE),
        (204, AttemptOutcome.DONE),
        (299, AttemptOutcome.DONE),
        (300, AttemptOutcome.PARK),
        (301, AttemptOutcome.PARK),
        (302, AttemptOutcome.PARK),
        (308, AttemptOutcome.PARK),
        (400, AttemptOutcome.PARK),
        (401, AttemptOutcome.PARK),
        (403, AttemptOutcome.PARK),
        (404, AttemptOutcome.PARK),
        (407, AttemptOutcome.PARK),
        (408, AttemptOutcome.AGAIN),
        (409, AttemptOutcome.PARK),
        (410, AttemptOutcome.PARK),
        (413, AttemptOutcome.PARK),
        (422, AttemptOutcome.PARK),
        (424, AttemptOutcome.PARK),
        (425, AttemptOutcome.AGAIN),
        (426, AttemptOutcome.PARK),
        (428, AttemptOutcome.PARK),
        (429, AttemptOutcome.AGAIN),
        (430, AttemptOutcome.PARK),
        (499, AttemptOutcome.PARK),
        (500, AttemptOutcome.AGAIN),
        (501, AttemptOutcome.AGAIN),
        (503, AttemptOutcome.AGAIN),
        (599, AttemptOutcome.AGAIN),
        (999, AttemptOutcome.AGAIN),
    ],
)
def test_outcome_of_a_response_depends_on_its_status(status, outcome):
    reason = None if outcome is AttemptOutcome.DONE else Reason.HTTP
    assert decide_outcome(ReceiverResponse(status, reason)) is outcome


def test_outcome_of_a_rejected_access_token_is_a_retry():
    assert decide_outcome(ReceiverResponse(401, Reason.TOKEN)) is AttemptOutcome.AGAIN


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.HTTP])
def test_outcome_without_a_response_is_a_retry_unless_the_address_is_refused(reason):
    expected = AttemptOutcome.PARK if reason is Reason.ADDRESS else AttemptOutcome.AGAIN
    assert decide_outcome(ReceiverResponse(None, reason)) is expected


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        (1, 1),
        (2, 3),
        (3, 7),
        (4, 15),
        (5, 31),
        (10, 1023),
        (13, 8191),
        (14, 10_800),
        (15, 10_800),
        (31, 10_800),
        (1_000_000, 10_800),
    ],
)
def test_wait_after_follows_the_formula_of_star(failures, seconds):
    assert retry_delay(failures, 0.5) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [(4, 0, 13.5), (4, 0.25, 14.25), (4, 1, 16.5), (14, 0, 9720), (14, 1, 10_800), (13, 1, 9010.1)],
)
def test_wait_after_varies_by_a_tenth_within_its_maximum(failures, chance, seconds):
    assert retry_delay(failures, chance).total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("failures", "retry_after", "seconds"),
    [
        (1, None, 1),
        (1, 0, 1),
        (1, 0.5, 1),
        (1, 60, 60),
        (5, 30, 31),
        (5, 32, 32),
        (1, 10_800, 10_800),
        (1, 1e9, 10_800),
    ],
)
def test_wait_after_is_the_maximum_of_formula_and_retry_after(failures, retry_after, seconds):
    assert retry_delay(failures, 0.5, retry_after) == timedelta(seconds=seconds)


def test_retry_after_is_never_shortened():
    assert retry_delay(1, 0, 60) == timedelta(seconds=60)


@given(st.integers(1, 10**6), st.floats(0, 1), st.none() | st.floats(0, 1e12))
def test_wait_after_is_always_within_bounds(failures, chance, retry_after):
    wait = retry_delay(failures, chance, retry_after)
    assert timedelta(seconds=1 - JITTER) <= wait <= timedelta(seconds=LONGEST_WAIT)
