"""Ids of new objects."""

import time
import uuid

from budkavle.ids import create_id


def test_new_id_begins_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [create_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    parsed = [uuid.UUID(id_) for id_ in ids]
    assert ids == [str(id_) for id_ in parsed]
    assert {(id_.version, id_.variant) for id_ in parsed} == {(7, uuid.RFC_4122)}
    times = [id_.int >> 80 for id_ in parsed]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


def test_new_id_has_random_bits() -> None:
    ids = [uuid.UUID(create_id()).int for _ in range(1000)]
    assert len(set(ids)) == len(ids)
    # Each bit after the version, except the variant, is both 0 and 1 among so many.
    free = ((1 << 76) - 1) & ~(3 << 62)
    ones = zeros = 0
    for id_ in ids:
        ones |= id_
        zeros |= ~id_
    assert ones & zeros & free == free
