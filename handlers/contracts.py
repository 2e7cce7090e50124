"""The published contracts, each with the form of its errors and whether its calls are audited."""

from collections.abc import Mapping

from handlers.audit import audited
from handlers.errors.forms import ERROR_LISTS, PROBLEMS
from openapi.contracts import Contract

CONTRACTS: Mapping[str, Contract] = {
    "operations": Contract(PROBLEMS),
    "web-messages": Contract(PROBLEMS),
    "subscriptions": Contract(ERROR_LISTS, audited),
}
"""By the names of their files."""
