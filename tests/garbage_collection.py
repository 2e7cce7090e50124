"""A pytest plugin that keeps the garbage collector away from collected tests.

Modules and thousands of collected tests live as long as the process. Traversing them takes a tenth of a second, many
times during the collection and a few times per minute afterwards.
"""

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage during the collection, and exclude the objects that it leaves from later runs."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Show all objects to the collector again: Hypothesis, imported for the summary, looks for referrers."""
    gc.unfreeze()
