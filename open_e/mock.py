"""The mock Open-E under its earlier name: import `mock_open_e` instead."""

from mock_open_e.names import *  # noqa: F403  # All that the package exports.
from mock_open_e.names import __all__  # noqa: F401  # So that `import *` takes the same.
