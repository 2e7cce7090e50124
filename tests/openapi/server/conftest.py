"""The fixtures of the tests of the whole service."""

from tests.budkavle.conftest import authority, invoke  # noqa: F401  # Tests use them by name.
