"""The number of concurrent calls of a target, and the choice of the next delivery."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from delivery.windows import FIRST, FORGOTTEN_AFTER, HAS_TEST_SLOTS, LONGEST_BACK_OFF, Windows
from domain.deliveries import Target, Urgency
from persistence.queue.due_deliveries import DueDelivery
from tests.factories import NOW

A, B = Target("system-a", "/a"), Target("system-b", "/b")


def build_rows(
    target: Target, count: int, subscription: int = 1, first: int = 1, **changes: object
) -> list[DueDelivery]:
    """Return due deliveries of a target, numbered from `first`, each due one second after the previous one."""
    return [
        DueDelivery(number, target, subscription, NOW + timedelta(seconds=number), **changes)  # type: ignore[arg-type]
        for number in range(first, first + count)
    ]


def start(windows: Windows, found: Iterable[DueDelivery], now: float = 0) -> list[DueDelivery]:
    chosen = windows.choose(found, now)
    for seen in chosen:
        windows.record_start(seen, now, is_test=windows.has_test_slot(seen))
    return chosen


def end(windows: Windows, chosen: Iterable[DueDelivery], now: float, *, is_well: bool = True) -> list[bool]:
    return [windows.record_end(seen.number, now, is_well=is_well, is_done=is_well) for seen in chosen]


def make_known(windows: Windows, target: Target, times: int = 100, now: float = 0) -> None:
    """Record that number of successful responses of a target."""
    for number in range(10_000, 10_000 + times):
        end(windows, start(windows, build_rows(target, 1, first=number), now), now + 0.01)


def test_new_target_gets_few_calls_and_one_more_for_each_quick_response() -> None:
    windows = Windows(200, 100)
    chosen = start(windows, build_rows(A, 50))
    assert len(chosen) == FIRST
    end(windows, chosen[:5], 0.5)
    assert len(start(windows, build_rows(A, 50, first=100), 0.5)) == 10
    assert len(start(windows, build_rows(A, 50, first=200), 0.5)) == 0


def test_slow_responses_reduce_the_calls_of_a_target() -> None:
    windows = Windows(200, 100)
    end(windows, start(windows, build_rows(A, 50)), 5)
    assert len(start(windows, build_rows(A, 50), 5)) == FIRST
    other = Windows(200, 100)
    make_known(other, A, 40)
    chosen = start(other, build_rows(A, 200))
    assert len(chosen) == FIRST + 40
    end(other, chosen, 30)
    assert len(start(other, build_rows(A, 200), 30)) == FIRST


def test_one_target_never_uses_all_slots_of_its_system_nor_one_system_all_of_the_worker() -> None:
    windows = Windows(100, 100)
    make_known(windows, A)
    chosen = start(windows, build_rows(A, 500))
    assert 90 <= len(chosen) <= 96
    assert len(start(windows, build_rows(Target(A.system_id, "/b"), 5, first=1000))) > 0
    assert len(start(windows, build_rows(B, 5, first=2000))) > 0


def test_failing_target_gets_one_call_and_backs_off() -> None:
    windows = Windows(200, 100, chance=lambda: 0.5)
    end(windows, start(windows, build_rows(A, 50)), 1, is_well=False)
    now, delays = 1.0, []
    for _ in range(9):
        (chosen,) = start(windows, build_rows(A, 50), now)
        now += 15
        end(windows, [chosen], now, is_well=False)
        began = now
        while not windows.choose(build_rows(A, 50), now):
            now += 0.5
        delays.append(now - began)
    assert delays == [1, 3, 7, 15, 31, *[LONGEST_BACK_OFF] * 4]
    assert windows.count_backing_off(began) == {A.system_id: 1}
    assert A in windows.get_room(began).full_targets


def test_concurrent_failures_count_as_one() -> None:
    windows = Windows(200, 100)
    end(windows, start(windows, build_rows(A, 50)), 15, is_well=False)
    assert len(start(windows, build_rows(A, 50), 15)) == 1


def test_response_ends_the_back_off_and_reports_the_recovery() -> None:
    windows = Windows(200, 100)
    assert end(windows, start(windows, build_rows(A, 2)), 0.1) == [True, False]
    for now in (1, 2):
        end(windows, start(windows, build_rows(A, 1), now), now + 0.1, is_well=False)
    (replayed,) = start(windows, build_rows(A, 1, urgency=Urgency.REPLAY), 2.2)
    assert end(windows, [replayed], 2.3) == [True]
    assert len(start(windows, build_rows(A, 50), 2.4)) > 1
    # One failure between successes is no outage.
    make_known(windows, B, now=3)
    end(windows, start(windows, build_rows(B, 1), 4), 4.1, is_well=False)
    assert end(windows, start(windows, build_rows(B, 1), 4.2), 4.3) == [False]


def test_idle_target_is_forgotten() -> None:
    windows = Windows(200, 100)
    end(windows, start(windows, build_rows(A, 1)), 0.1)
    windows.get_room(FORGOTTEN_AFTER + 1)
    assert end(windows, start(windows, build_rows(A, 1), 400), 400.1) == [True]


def test_replayed_delivery_ignores_back_off_but_needs_a_slot() -> None:
    windows = Windows(200, 100)
    for now in (0, 1):
        end(windows, start(windows, build_rows(A, 1), now), now + 0.1, is_well=False)
    assert start(windows, build_rows(A, 1), 1.2) == []
    replayed = build_rows(A, 2, urgency=Urgency.REPLAY)
    assert start(windows, replayed, 1.2) == replayed[:1]
    assert start(windows, replayed[1:], 1.2) == []
    backing_off = build_rows(B, 1, first=10, is_delayed=True)
    assert start(windows, backing_off, 1.2) == []
    again = build_rows(B, 1, first=11, is_delayed=True, urgency=Urgency.REPLAY)
    assert start(windows, again, 1.2) == again


def test_test_message_has_a_slot_when_all_are_used() -> None:
    windows = Windows(20, 10)
    for number, target in enumerate([A, B, Target("c", "/"), Target("d", "/")]):
        make_known(windows, target)
        start(windows, build_rows(target, 50, first=100 * number))
    while windows.get_room(0).free and start(
        windows, build_rows(Target(str(windows.get_room(0).free), "/"), 1, first=9000)
    ):
        pass
    first, second = build_rows(A, 2, first=5000, urgency=Urgency.TEST)
    assert start(windows, [first, second]) == [first]
    end(windows, [first], 1)
    assert start(windows, [second]) == [second]


def test_each_urgency_decides_about_the_slots_for_test_messages() -> None:
    assert set(HAS_TEST_SLOTS) == {None, *Urgency}


def test_free_slot_goes_to_the_least_served_system_target_and_subscription() -> None:
    windows = Windows(5, 3)
    found = [
        *build_rows(A, 10),
        *build_rows(Target(A.system_id, "/other"), 10, subscription=2, first=100),
        *build_rows(A, 10, subscription=3, first=200),
        *build_rows(B, 10, subscription=4, first=300),
    ]
    chosen = windows.choose(found, 0)
    assert Counter(seen.target.webhook_url for seen in chosen) == {"/a": 1, "/other": 1, "/b": 1}
    # With one concurrent call all get turns, although some have been due for longer.
    one = Windows(1, 1)
    order = []
    for _ in range(8):
        (seen,) = start(one, found)
        end(one, [seen], 0)
        found.remove(seen)
        order.append(seen.subscription_id)
    assert order == [1, 4, 2, 4, 3, 4, 2, 4]


def test_deliveries_behind_others_of_their_key_are_not_selected() -> None:
    assert Windows(10, 10).choose(build_rows(A, 3, is_behind=True), 0) == []
