"""Fixtures of all suites, for any configuration of the target."""

import random
from collections.abc import Iterator

import pytest

from contract_tests import evidence
from contract_tests.adapting import permanent_entry
from contract_tests.api import Api
from contract_tests.target import CheckTarget


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[evidence.Sent]]:
    """Yield the list of requests that this check sends."""
    with evidence.recording() as sent:
        yield sent


OPTIONS = {
    "api_key": "--api-key",
    "sender": "--api-key or --token",
    "publisher": "--publish-key",
    "token_file": "--token",
    "accepts_tokens": "a target that accepts tokens",
    "token_reads": "a --token for messages",
    "token_publishes": "a --token for events",
    "has_bound_token": "a --token that is bound to --client-cert",
    "has_unbound_token": "a --token that is not bound",
    "token_without_messages": "a --token without access to messages",
    "token_without_events": "a --token without access to events",
    "other_key": "--publish-key of another key than --api-key",
    "certificate": "--client-cert",
    "system": "--system",
    "attacked_system": "--system",
    "attacked": "--system",
    "queued_system": "--system",
    "queued": "--system",
    "allowed": "--system",
    "case": "--case",
    "accepts_keys": "a target that validates Idempotency-Key",
}
"""The option of the command that provides each requirement of a check."""


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest) -> None:
    """Skip a check whose `needs` marks name facts that are unknown for the target."""
    names = [name for mark in request.node.iter_markers("needs") for name in mark.args]
    if not names:
        return
    target: CheckTarget = request.getfixturevalue("target")
    absent = [name for name in names if not getattr(target, name)]
    # No option helps then.
    absent = [name for name in absent if name == "accepts_tokens"] or absent
    missing = {OPTIONS.get(name, name): None for name in absent}
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


@pytest.fixture
def api(target: CheckTarget, request: pytest.FixtureRequest) -> Iterator[Api]:
    """Yield a client for the target. Its generated values derive from the seed and the name of the check."""
    api = Api(target, random.Random(f"{target.seed} {request.node.originalname} {request.node.name}"))
    yield api
    api.close()


@pytest.fixture
def own_set(api: Api) -> Iterator[Api]:
    """Yield a client while the system has no subscriptions. Restore them afterwards."""
    target = api.target
    # The permanent subscriptions are in one system, which may be another one.
    permanent = [target.queued, target.attacked] if target.system == target.queued_system else []
    api.subscribe()
    yield api
    api.subscribe(*(permanent_entry(identity) for identity in permanent if identity is not None))
