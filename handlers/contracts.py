"""The published contracts: the form of their errors, the modules that handle them, and whether calls are audited."""

from collections.abc import Mapping

from handlers import deliveries, events, operations, receipts, subscriptions, web_messages
from handlers.audit import audit_operation
from handlers.compatibility import case_messages
from handlers.compatibility import web_messages as municipal_web_messages
from handlers.compatibility.caching import forbid_caching
from handlers.errors.forms import ERROR_LISTS, OEP_INTEGRATOR_PROBLEMS, PROBLEMS, WEB_MESSAGE_SENDER_PROBLEMS
from openapi.contracts import Contract

WEB_MESSAGES = "web-messages"
WEB_MESSAGES_3_2 = "web-messages-3.2"
OEP_INTEGRATOR_1_5 = "oep-integrator-1.5"

CONTRACTS: Mapping[str, Contract] = {
    "operations": Contract(PROBLEMS, (operations,)),
    WEB_MESSAGES: Contract(PROBLEMS, (web_messages,)),
    "subscriptions": Contract(ERROR_LISTS, (subscriptions, events, deliveries, receipts), audit_operation),
    WEB_MESSAGES_3_2: Contract(WEB_MESSAGE_SENDER_PROBLEMS, (municipal_web_messages,), forbid_caching),
    OEP_INTEGRATOR_1_5: Contract(OEP_INTEGRATOR_PROBLEMS, (case_messages,), forbid_caching),
}
"""The contracts by the names of their files."""

COMPATIBILITY_APIS = (WEB_MESSAGES_3_2, OEP_INTEGRATOR_1_5)
"""Contracts that are served only if the operator wants them."""

DEFAULT = tuple(name for name in CONTRACTS if name not in COMPATIBILITY_APIS)
"""Contracts that are always served."""

DESCRIBED: Mapping[str, tuple[str, ...]] = {"subscriptions": ("deliveries",), "operations": ("operator-events",)}
"""The contracts that are served as documentation alone, with another one: their requests are sent by the service."""

ENGLISH_TITLES: Mapping[str, str] = {"subscriptions": "Subscriptions"}
"""The English titles of contracts whose published title is in another language."""
