"""A pytest plugin that keeps a run of a few pure tests short."""

import sys

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave out the summary of Hypothesis where no test used Hypothesis: the summary imports the whole library."""
    # In the controller of pytest-xdist the tests ran in other processes.
    if "hypothesis" not in sys.modules and not session.config.getoption("numprocesses", None):
        session.config.pluginmanager.unregister(name="_hypothesis_pytestplugin")
