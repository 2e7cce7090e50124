"""The fixtures of the tests of the whole service."""

from tests.budkavle.conftest import authority, held, invoke, sqlite_url  # noqa: F401  # Tests use them by name.
