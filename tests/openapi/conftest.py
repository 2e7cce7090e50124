"""The fixtures of the handlers' tests, because much of this layer is visible only in a running service."""

from tests.handlers.conftest import (  # noqa: F401  # Tests use them by name.
    contract,
    shared,
    shared_open_e,
    subscribing,
    subscribing_alone,
)
