"""How many calls a receiver gets at once."""

from delivery.windows import FIRST, QUICK_SECONDS, Windows

A, B = "system-a", "system-b"


def at_once(windows: Windows, system_id: str) -> int:
    room = windows.room(1000)
    return room.of.get(system_id, room.each)


def test_a_receiver_begins_with_few_calls_and_gets_one_more_for_each_that_went_well() -> None:
    windows = Windows(100)
    assert at_once(windows, A) == FIRST
    for _ in range(5):
        windows.began(A)
    assert at_once(windows, A) == FIRST - 5
    for _ in range(5):
        windows.ended(A, 0.01, is_well=True)
    assert (at_once(windows, A), at_once(windows, B)) == (FIRST + 5, FIRST)


def test_no_receiver_gets_more_than_the_limit() -> None:
    windows = Windows(12)
    for _ in range(20):
        windows.began(A)
        windows.ended(A, 0.01, is_well=True)
    assert at_once(windows, A) == 12
    assert at_once(Windows(3), A) == 3


def test_a_receiver_that_fails_soon_gets_one_call_and_no_less() -> None:
    windows = Windows(100)
    seen = []
    for _ in range(6):
        windows.began(A)
        windows.ended(A, 0.01, is_well=False)
        seen.append(at_once(windows, A))
    assert seen == [5, 2, 1, 1, 1, 1]


def test_a_slow_receiver_gets_no_more_calls_than_it_has() -> None:
    windows = Windows(100)
    windows.began(A)
    windows.ended(A, QUICK_SECONDS, is_well=True)
    assert at_once(windows, A) == FIRST


def test_room_is_never_negative() -> None:
    windows = Windows(100)
    for _ in range(FIRST):
        windows.began(A)
    windows.ended(A, 0.01, is_well=False)
    assert at_once(windows, A) == 0
    assert windows.room(7).most == 7
