"""One delivery with its attempts, or its receipt; and its replay."""

from datetime import datetime
from typing import Any

from starlette.responses import Response

from domain.deliveries import QueuedDelivery, Target
from domain.delivery_pauses import DeliveryPause
from domain.errors import NotFound
from domain.subscriptions import Identity
from handlers.operations_page import texts
from handlers.operations_page.page import ROOT, Visit
from handlers.operations_page.systems import FEW, replay_audited
from persistence import deliveries as stored
from persistence import delivery_pauses, receipts, systems
from persistence.queue import back_offs as stored_back_offs


async def show_delivery(visit: Visit) -> Response:
    """Show why a delivery has not arrived, or the proof that it has."""
    database, delivery_id = visit.services.database, visit.get_id()
    try:
        item = await stored.get(database, delivery_id)
    except NotFound:
        receipt = await receipts.find(database, delivery_id)
        if receipt is None:
            raise NotFound(
                f"There is neither a delivery nor a receipt with id {delivery_id}. Old receipts are removed."
            ) from None
        system = await systems.find(database, receipt.system_id)
        return visit.render("receipt.html", {"current": None, "receipt": receipt, "system": system})
    system = await systems.find(database, item.system_id)
    pauses = await delivery_pauses.list_pauses(database, visit.now, item.system_id)
    back_offs = await stored_back_offs.list_back_offs(database, item.system_id, visit.now, FEW)
    blocker = None if item.blocked_by is None else await _explain_blocker(visit, item.blocked_by, pauses, back_offs)
    values = {
        "current": None,
        "item": item,
        "blocker": blocker,
        "system": system,
        "identity": Identity(item.org_type, item.org_code, item.entity_type),
        "attempts": await stored.list_attempts(database, item.number),
        "explanation": texts.explain_delivery(item, pauses, back_offs, visit.now),
        "failure": texts.describe_failure(item),
        "paused": [texts.describe_pause(each) for each in pauses if _is_paused_by(item, each.identity)],
    }
    return visit.render("delivery.html", values)


async def _explain_blocker(
    visit: Visit, delivery_id: str, pauses: list[DeliveryPause], back_offs: list[tuple[Target, datetime]]
) -> str:
    """Return why the earlier delivery has not arrived, in one sentence; empty if it has arrived meanwhile."""
    try:
        blocker = await stored.get(visit.services.database, delivery_id)
    except NotFound:
        return ""
    failure = texts.describe_failure(blocker)
    sentences = texts.explain_delivery(blocker, pauses, back_offs, visit.now).sentences
    return " ".join(sentences if failure is None else [failure[0], *sentences])


async def show_replay(visit: Visit) -> Response:
    """Ask for the confirmation of a replay."""
    database, delivery_id = visit.services.database, visit.get_id()
    if await receipts.find(database, delivery_id) is not None:
        return visit.redirect(f"{ROOT}/deliveries/{delivery_id}")
    item = await stored.get(database, delivery_id)
    system = await systems.find(database, item.system_id)
    name = item.system_id if system is None else system.name
    pauses = await delivery_pauses.list_pauses(database, visit.now, item.system_id)
    sentences = [
        f"This delivery will be sent to {name} at once, whatever back-off its receiver has.",
        f"It has had {texts.count(item.attempts, 'attempt')}. If it fails, it is tried again later, or parked.",
    ]
    if item.blocked_by is not None:
        sentences.append("But it is blocked now: it cannot be replayed before the earlier delivery of its key.")
    sentences += [f"But: {texts.describe_pause(each)}" for each in pauses if _is_paused_by(item, each.identity)]
    values: dict[str, Any] = {
        "current": None,
        "title": "Replay 1 delivery?",
        "sentences": sentences,
        "hidden": {},
        "button": "Replay 1 delivery",
        "tone": "primary",
        "cancel": f"{ROOT}/deliveries/{item.id}",
    }
    return visit.render("confirm.html", values)


async def replay(visit: Visit) -> Response:
    """Replay a delivery, and say why if that was not possible."""
    services, delivery_id = visit.services, visit.get_id()
    link = ("Back to the delivery", f"{ROOT}/deliveries/{delivery_id}")
    try:
        item = await stored.get(services.database, delivery_id)
    except NotFound:
        if await receipts.find(services.database, delivery_id) is None:
            raise
        return visit.finish("The delivery has arrived meanwhile", ["There is nothing to replay."], [link])
    if delivery_id in await replay_audited(visit, item.system_id, [delivery_id]):
        return visit.finish("Replayed 1 delivery", ["It will be sent now."], [link])
    obstacles = await stored.list_not_replayed(services.database, [delivery_id], services.now())
    sentence = texts.explain_not_replayed(obstacles[delivery_id])
    return visit.finish("The delivery was not replayed", [sentence], [link], tone="warn")


def _is_paused_by(item: QueuedDelivery, identity: Identity | None) -> bool:
    return identity in {None, Identity(item.org_type, item.org_code, item.entity_type)}
