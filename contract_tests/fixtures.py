"""What every check of a suite gets, whoever made its target."""

import random
from collections.abc import Iterator

import pytest

from contract_tests import evidence
from contract_tests.api import Api
from contract_tests.fitting import kept
from contract_tests.target import Target


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[evidence.Sent]]:
    """What this check sent."""
    with evidence.of_one_check() as sent:
        yield sent


OPTIONS = {
    "api_key": "--api-key",
    "publish_key": "--publish-key",
    "other_key": "--publish-key of another key than --api-key",
    "certificate": "--client-cert",
    "system": "--system",
    "attacked_system": "--system",
    "attacked": "--system",
    "queued_system": "--system",
    "queued": "--system",
    "allowed": "--system",
    "case": "--case",
}
"""What tells the command each thing that a check may need."""


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest) -> None:
    """Leaves a check out whose marks `needs` name what is not known of the target."""
    names = [name for mark in request.node.iter_markers("needs") for name in mark.args]
    if not names:
        return
    target: Target = request.getfixturevalue("target")
    missing = {OPTIONS.get(name, name): None for name in names if not getattr(target, name)}
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


@pytest.fixture
def api(target: Target, request: pytest.FixtureRequest) -> Iterator[Api]:
    """The operations of the target; what the check makes up follows from the seed and the check's name."""
    api = Api(target, random.Random(f"{target.seed} {request.node.originalname} {request.node.name}"))
    yield api
    api.close()


@pytest.fixture
def own_set(api: Api) -> Iterator[Api]:
    """The operations of the target while its system has no subscriptions; what it had is put back."""
    target = api.target
    # What stays while a suite runs stands in one system, which need not be this one.
    stays = [target.queued, target.attacked] if target.system == target.queued_system else []
    api.subscribe()
    yield api
    api.subscribe(*(kept(identity) for identity in stays if identity is not None))
