"""Deliveries: what answers mean, and when to try again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries import JITTER, LONGEST_WAIT, Answer, Outcome, Reason, outcome_of, wait_after


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (100, Outcome.PARK),
        (101, Outcome.PARK),
        (199, Outcome.PARK),
        (200, Outcome.DONE),
        (201, Outcome.DONE),
        (202, Outcome.DONE),
        (204, Outcome.DONE),
        (299, Outcome.DONE),
        (300, Outcome.PARK),
        (301, Outcome.PARK),
        (302, Outcome.PARK),
        (308, Outcome.PARK),
        (400, Outcome.PARK),
        (401, Outcome.PARK),
        (403, Outcome.PARK),
        (404, Outcome.PARK),
        (407, Outcome.PARK),
        (408, Outcome.AGAIN),
        (409, Outcome.PARK),
        (410, Outcome.PARK),
        (413, Outcome.PARK),
        (422, Outcome.PARK),
        (424, Outcome.PARK),
        (425, Outcome.AGAIN),
        (426, Outcome.PARK),
        (428, Outcome.PARK),
        (429, Outcome.AGAIN),
        (430, Outcome.PARK),
        (499, Outcome.PARK),
        (500, Outcome.AGAIN),
        (501, Outcome.AGAIN),
        (503, Outcome.AGAIN),
        (599, Outcome.AGAIN),
        (999, Outcome.AGAIN),
    ],
)
def test_outcome_of_an_answer_is_by_its_status(status, outcome):
    reason = None if outcome is Outcome.DONE else Reason.HTTP
    assert outcome_of(Answer(status, reason)) is outcome


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.HTTP])
def test_outcome_of_silence_is_to_come_again_unless_the_address_was_refused(reason):
    expected = Outcome.PARK if reason is Reason.ADDRESS else Outcome.AGAIN
    assert outcome_of(Answer(None, reason)) is expected


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
def test_wait_after_is_the_formula_of_star(failures, seconds):
    assert wait_after(failures, 0.5) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [(4, 0, 13.5), (4, 0.25, 14.25), (4, 1, 16.5), (14, 0, 9720), (14, 1, 10_800), (13, 1, 9010.1)],
)
def test_wait_after_is_spread_by_a_tenth_and_never_over_the_longest(failures, chance, seconds):
    assert wait_after(failures, chance).total_seconds() == pytest.approx(seconds)


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
def test_wait_after_is_the_longer_of_both(failures, retry_after, seconds):
    assert wait_after(failures, 0.5, retry_after) == timedelta(seconds=seconds)


def test_what_the_receiver_asks_for_is_not_shortened_by_chance():
    assert wait_after(1, 0, 60) == timedelta(seconds=60)


@given(st.integers(1, 10**6), st.floats(0, 1), st.none() | st.floats(0, 1e12))
def test_wait_after_is_always_within_bounds(failures, chance, retry_after):
    wait = wait_after(failures, chance, retry_after)
    assert timedelta(seconds=1 - JITTER) <= wait <= timedelta(seconds=LONGEST_WAIT)
