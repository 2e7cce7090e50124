"""Pauses of deliveries that operators order, such as a maintenance window of a receiver (decision 0030)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain.subscriptions import Identity


@dataclass(frozen=True, slots=True)
class DeliveryPause:
    """A pause of a system, or of one of its subscriptions (`identity`). It ends at `until`, or when it is ended.

    `operator` is who ordered it.
    """

    system_id: str
    identity: Identity | None
    since: datetime
    until: datetime | None
    operator: str


def find_pause(pauses: Iterable[DeliveryPause], system_id: str, identity: Identity) -> DeliveryPause | None:
    """Return the pause that holds back deliveries to a subscription; of several, the one that ends last."""
    matching = [each for each in pauses if each.system_id == system_id and each.identity in {None, identity}]
    return max(matching, key=lambda each: (each.until is None, each.until or each.since), default=None)
