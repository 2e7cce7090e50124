"""A pytest plugin that keeps the garbage collector away from permanent objects.

Modules and thousands of collected tests live as long as the process. Traversing them takes a tenth of a second, many
times during the collection and a few times per minute afterwards. Tests import further modules, which are not excluded,
so full collections are rare.
"""

import gc
import sys
from collections.abc import Generator

import pytest

FULL_COLLECTION = 100
"""Collections of the middle generation before a full one, ten times as many as by default."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage during the collection, and exclude the objects that it leaves from later runs."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, FULL_COLLECTION)
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Show all objects to the collector again if Hypothesis, imported for the summary, will look for referrers."""
    if "hypothesis" not in sys.modules:
        gc.unfreeze()
