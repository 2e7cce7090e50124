"""What must be true of arrivals when all is delivered."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.queue_stage import Arrival

ENDS = (200, 404)
"""Answers after which a delivery does not come again."""

SAID_WITHIN = 0.7
"""Seconds before a death within which its worker had met an answer of which it could not even write into its log."""


@dataclass(frozen=True)
class Life:
    """A worker that was killed: the log it left, and when it was dead."""

    log: Path
    death: float


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


def twice(
    arrivals: Iterable[Arrival], lives: Sequence[Life], receiver_deaths: Sequence[float]
) -> tuple[list[str], int]:
    """Deliveries that arrived again although nobody had died who knew of it, and how many arrived again at all.

    A worker that settles what it met is not killed for it: it must have died between the two arrivals.
    """
    ended: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.status in ENDS:
            ended[arrival.delivery].append(arrival)
    again = [pair for several in ended.values() for pair in pairwise(several)]
    knew = _who_knew({first.delivery for first, _ in again}, lives)
    deaths = [life.death for life in lives] + list(receiver_deaths)
    faults = []
    for first, second in again:
        died = any(first.time <= death <= second.time for death in knew.get(first.delivery, ()))
        unsaid = any(0 <= death - first.time <= SAID_WITHIN for death in deaths)
        if not died and not unsaid:
            faults.append(f"{first.path}: {first.delivery} arrived again, and nobody who knew of it had died")
    return faults, len(again)


def _who_knew(deliveries: AbstractSet[str], lives: Iterable[Life]) -> dict[str, list[float]]:
    """The deaths of those workers that had an answer to each of these deliveries in their logs."""
    knew: dict[str, list[float]] = defaultdict(list)
    for life in lives:
        for line in life.log.read_text(errors="replace").splitlines():
            # The last line of a log may have been cut off.
            if '"attempt"' not in line or not line.endswith("}"):
                continue
            said = json.loads(line)
            if said.get("delivery") in deliveries and said["outcome"] in {"done", "park"}:
                knew[said["delivery"]].append(life.death)
    return knew
