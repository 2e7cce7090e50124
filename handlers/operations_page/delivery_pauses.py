"""Pauses of a system or of one of its subscriptions: order one, change its end, and end it."""

import re
from collections.abc import Mapping
from datetime import timedelta

from starlette.responses import Response

from domain.delivery_pauses import DeliveryPause
from domain.errors import Invalid, NotFound, Violation
from domain.subscriptions import Identity
from handlers.operations_page import texts
from handlers.operations_page.overview import QUEUE_SECONDS
from handlers.operations_page.page import ROOT, Visit
from handlers.operations_page.systems import find_depth, find_system, list_pauses
from persistence import delivery_pauses
from persistence.delivery_pauses import Command
from persistence.systems import SystemSummary

DURATIONS = {
    "": None,
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}
"""The choices for the end of a pause, by the value of the form."""

_INTEGER = re.compile(r"-?[0-9]{1,9}", re.ASCII)


async def show_pause(visit: Visit) -> Response:
    """Ask for the confirmation of a pause, and for its end."""
    system, identity = await _find_subject(visit, visit.query)
    depth = None
    if identity is None:
        figures = await visit.services.queue_watch.wait_for_figures(visit.now, QUEUE_SECONDS)
        depth = find_depth(figures, system.id)
    pause = _find_pause(await list_pauses(visit, system.id), identity)
    values = {"current": None, "system": system, "identity": identity, "depth": depth, "pause": pause}
    return visit.render("pause.html", values)


async def pause(visit: Visit) -> Response:
    """Pause deliveries to a system or one of its subscriptions."""
    system, identity = await _find_subject(visit, visit.form)
    duration = visit.form.get("duration", "")
    if duration not in DURATIONS:
        raise Invalid([Violation("duration", f"must be one of {', '.join(DURATIONS)}")])
    command, length = _build_command(visit, system.id, identity), DURATIONS[duration]
    ordered = await delivery_pauses.pause(
        visit.services.database, command, None if length is None else command.now + length
    )
    links = [(f"Back to {system.name}", f"{ROOT}/systems/{system.id}")]
    sentences = [
        texts.describe_pause(ordered),
        "Workers notice it within a second or two. Attempts that have begun may still end. Nothing is lost.",
    ]
    return visit.finish(f"Paused {_name_subject(system, identity)}", sentences, links)


async def show_resume(visit: Visit) -> Response:
    """Ask for the confirmation of the end of a pause."""
    system, identity = await _find_subject(visit, visit.query)
    pauses = await list_pauses(visit, system.id)
    found = _find_pause(pauses, identity)
    if found is None:
        raise NotFound(f"{_name_subject(system, identity)} is not paused.")
    others = [each for each in pauses if each != found]
    sentences = [texts.describe_pause(found), "After this, workers send what waits, the oldest first."]
    sentences += [f"This remains: {texts.describe_pause(each)}" for each in others]
    values = {
        "current": None,
        "title": f"Resume deliveries to {_name_subject(system, identity)}?",
        "sentences": sentences,
        "hidden": _write_subject(identity),
        "button": "Resume deliveries",
        "tone": "primary",
        "cancel": f"{ROOT}/systems/{system.id}",
    }
    return visit.render("confirm.html", values)


async def resume(visit: Visit) -> Response:
    """End a pause, and wake the workers."""
    system, identity = await _find_subject(visit, visit.form)
    remaining = await delivery_pauses.resume(visit.services.database, _build_command(visit, system.id, identity))
    await visit.services.database.wake_workers()
    links = [(f"Back to {system.name}", f"{ROOT}/systems/{system.id}")]
    sentences = ["Workers send now what was held back."] if not remaining else []
    sentences += [f"This remains: {texts.describe_pause(each)}" for each in remaining]
    return visit.finish(
        f"Resumed {_name_subject(system, identity)}", sentences, links, tone="warn" if remaining else "good"
    )


def _find_pause(pauses: list[DeliveryPause], identity: Identity | None) -> DeliveryPause | None:
    return next((each for each in pauses if each.identity == identity), None)


def _build_command(visit: Visit, system_id: str, identity: Identity | None) -> Command:
    services = visit.services
    return Command(system_id, identity, visit.caller, services.now(), visit.request_id, services.new_id())


async def _find_subject(visit: Visit, fields: Mapping[str, str]) -> tuple[SystemSummary, Identity | None]:
    """Return the system of the path and the subscription in the fields, None for the whole system."""
    system = await find_system(visit, visit.get_id())
    given = fields.get("subscription", "")
    if not given:
        return system, None
    parts = given.split("/")
    if len(parts) != len(Identity._fields) or not all(map(_INTEGER.fullmatch, parts)):
        raise Invalid([Violation("subscription", "must be ORGTYPE/ORGCODE/ENTITYTYPE")])
    return system, Identity(*map(int, parts))


def _write_subject(identity: Identity | None) -> dict[str, str]:
    return {} if identity is None else {"subscription": texts.write_identity(identity)}


def _name_subject(system: SystemSummary, identity: Identity | None) -> str:
    return system.name if identity is None else f"subscription {texts.write_identity(identity)} of {system.name}"
