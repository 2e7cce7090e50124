"""What every check of a suite gets, whoever made its target."""

import random
from collections.abc import Iterator

import pytest

from contract_tests import evidence
from contract_tests.api import Api
from contract_tests.target import Target


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[str | evidence.SentInBytes]]:
    """What this check sent."""
    with evidence.of_one_check() as sent:
        yield sent


@pytest.fixture
def api(target: Target, request: pytest.FixtureRequest) -> Iterator[Api]:
    """The operations of the target; what the check makes up follows from the seed and the check's name."""
    api = Api(target, random.Random(f"{target.seed} {request.node.originalname} {request.node.name}"))
    yield api
    api.close()
