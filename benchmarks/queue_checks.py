"""What must be true of arrivals when all is delivered."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.queue_stage import Arrival

ENDS = (200, 404)
"""Answers after which a delivery does not come again."""

SETTLED_WITHIN = 0.7
"""Seconds before a death within which what it interrupted had arrived: a turn of the worker takes a tenth of it."""


def out_of_order(arrivals: Iterable[Arrival], each: int) -> list[str]:
    """Events that came before an earlier one of their queue had ended, and queues that did not get to their end."""
    reached: dict[tuple[str, str], int] = defaultdict(int)
    faults = []
    for arrival in arrivals:
        queue = (arrival.path, arrival.key)
        if arrival.sequence > reached[queue]:
            faults.append(f"{queue}: event {arrival.sequence} came while {reached[queue]} was due")
        if arrival.sequence == reached[queue] and arrival.status in ENDS:
            reached[queue] += 1
    return faults + [
        f"{queue}: {number} of {each} events arrived" for queue, number in reached.items() if number != each
    ]


def wrongly_parked(arrivals: Iterable[Arrival], parked: Iterable[str]) -> list[str]:
    """Whether what is parked is what was refused, and nothing else."""
    last = {arrival.delivery: arrival.status for arrival in arrivals if arrival.status in ENDS}
    refused = {delivery for delivery, status in last.items() if status != 200}
    different = refused ^ set(parked)
    return [f"{len(refused)} were refused; {len(different)} of them are not parked, or others are"] if different else []


def twice(arrivals: Iterable[Arrival], deaths: Sequence[float]) -> tuple[list[str], int]:
    """Deliveries that arrived again although nobody had died, and how many arrived again at all."""
    ended: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.status in ENDS:
            ended[arrival.delivery].append(arrival)
    again = [arrival for several in ended.values() for arrival in several[:-1]]
    faults = [
        f"{arrival.path}: {arrival.delivery} arrived again, and nobody had died"
        for arrival in again
        if not any(0 <= death - arrival.time <= SETTLED_WITHIN for death in deaths)
    ]
    return faults, len(again)
