"""The published contracts: the form of their errors, the modules that handle them, and whether calls are audited."""

from collections.abc import Mapping

from handlers import deliveries, events, operations, receipts, subscriptions, web_messages
from handlers.audit import audit_operation
from handlers.errors.forms import ERROR_LISTS, PROBLEMS
from openapi.contracts import Contract

WEB_MESSAGES = "web-messages"

CONTRACTS: Mapping[str, Contract] = {
    "operations": Contract(PROBLEMS, (operations,)),
    WEB_MESSAGES: Contract(PROBLEMS, (web_messages,)),
    "subscriptions": Contract(ERROR_LISTS, (subscriptions, events, deliveries, receipts), audit_operation),
}
"""The contracts by the names of their files."""

DESCRIBED: Mapping[str, tuple[str, ...]] = {"subscriptions": ("deliveries",), "operations": ("operator-events",)}
"""The contracts that are served as documentation alone, with another one: their requests are sent by the service."""
