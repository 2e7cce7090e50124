"""Invariants of arrivals after all deliveries are done."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.queue_stage import Arrival

ACCEPTED = 200
ENDS = (ACCEPTED, 404)
"""Statuses after which a delivery is not sent again."""

LOGGED_WITHIN = 0.7
"""Seconds before its death within which a worker may have received a response without logging it."""


ENDED_WITHIN = 2.0
"""Seconds from the begin of a pause within which attempts that were under way end."""


@dataclass(frozen=True)
class Life:
    """A killed worker: its log, and the time of its death."""

    log: Path
    death: float


def find_out_of_order(arrivals: Iterable[Arrival], each: int) -> list[str]:
    """Return events that arrived before an earlier one of their queue was done, and queues that did not finish."""
    reached: dict[tuple[str, str], int] = defaultdict(int)
    faults = []
    for arrival in arrivals:
        queue = (arrival.path, arrival.key)
        if arrival.sequence > reached[queue]:
            faults.append(f"{queue}: event {arrival.sequence} arrived while {reached[queue]} was due")
        if arrival.sequence == reached[queue] and arrival.status in ENDS:
            reached[queue] += 1
    return faults + [
        f"{queue}: {number} of {each} events arrived" for queue, number in reached.items() if number != each
    ]


def find_wrongly_parked(arrivals: Iterable[Arrival], parked: Iterable[str]) -> list[str]:
    """Return differences between the parked deliveries and the rejected ones."""
    last = {arrival.delivery: arrival.status for arrival in arrivals if arrival.status in ENDS}
    refused = {delivery for delivery, status in last.items() if status != 200}
    different = refused ^ set(parked)
    return [f"{len(refused)} were refused; {len(different)} of them are not parked, or others are"] if different else []


def find_wrong_receipts(arrivals: Iterable[Arrival], receipts: Iterable[tuple[str, str]]) -> list[str]:
    """Return differences between the receipts and what the receivers accepted: number, ids and hashes."""
    stored = sorted(receipts)
    accepted = sorted({(arrival.delivery, arrival.hash) for arrival in arrivals if arrival.status == ACCEPTED})
    if stored == accepted:
        return []
    missing, others = len(set(accepted) - set(stored)), len(set(stored) - set(accepted))
    return [f"{len(accepted)} accepted, {len(stored)} receipts: {missing} are missing, {others} have no request"]


@dataclass(frozen=True)
class PausedTime:
    """A time in which the operator had paused the deliveries to a path."""

    path: str
    begin: float
    end: float


def find_attempts_in_pauses(arrivals: Iterable[Arrival], pauses: Sequence[PausedTime]) -> list[str]:
    """Return attempts that a worker began during a pause. Those under way at its beginning may end."""
    return [
        f"{arrival.path}: {arrival.delivery} arrived {arrival.time - pause.begin:.1f} s after the begin of a pause"
        for arrival in arrivals
        for pause in pauses
        if arrival.path == pause.path and pause.begin + ENDED_WITHIN < arrival.time < pause.end
    ]


def find_lost_operator_events(arrivals: Iterable[Arrival], sent: Iterable[str]) -> list[str]:
    """Return the differences between the events for operators that are stored as sent and those that arrived."""
    missing = set(sent) - {arrival.delivery for arrival in arrivals}
    return [f"{len(missing)} events for operators are stored as sent, and have not arrived"] if missing else []


def find_repeats(
    arrivals: Iterable[Arrival], lives: Sequence[Life], receiver_deaths: Sequence[float]
) -> tuple[list[str], int]:
    """Return deliveries that arrived again although no worker that knew the response died, and the number of repeats.

    A worker must have died between the two arrivals, because settled deliveries are not sent again.
    """
    ended: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.status in ENDS:
            ended[arrival.delivery].append(arrival)
    again = [pair for several in ended.values() for pair in pairwise(several)]
    informed_deaths = _list_deaths_of_informed_workers({first.delivery for first, _ in again}, lives)
    deaths = [life.death for life in lives] + list(receiver_deaths)
    faults = []
    for first, second in again:
        died = any(first.time <= death <= second.time for death in informed_deaths.get(first.delivery, ()))
        unlogged = any(0 <= death - first.time <= LOGGED_WITHIN for death in deaths)
        if not died and not unlogged:
            faults.append(
                f"{first.path}: {first.delivery} arrived again, although no worker that knew the response had died"
            )
    return faults, len(again)


def _list_deaths_of_informed_workers(deliveries: AbstractSet[str], lives: Iterable[Life]) -> dict[str, list[float]]:
    """Return the deaths of the workers whose logs contain a response to each of these deliveries."""
    knew: dict[str, list[float]] = defaultdict(list)
    for life in lives:
        for line in life.log.read_text(errors="replace").splitlines():
            # The last line of a log may be truncated.
            if '"delivery_attempted"' not in line or not line.endswith("}"):
                continue
            entry = json.loads(line)
            if entry.get("delivery") in deliveries and entry["outcome"] in {"done", "park"}:
                knew[entry["delivery"]].append(life.death)
    return knew
