"""UUIDs in the forms that Java reads. The expected values are those of `UUID.fromString` of OpenJDK."""

import pytest

from domain.java_uuids import parse_java_uuid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("81471222-5798-11E9-AE24-57FA13B361E1", "81471222-5798-11e9-ae24-57fa13b361e1"),
        ("1-1-1-1-1", "00000001-0001-0001-0001-000000000001"),
        ("0-0-0-0-0", "00000000-0000-0000-0000-000000000000"),
        ("+1-1-1-1-+f", "00000001-0001-0001-0001-00000000000f"),
        ("123456789-12345-1-1-1234567890abc", "23456789-2345-0001-0001-234567890abc"),
        ("7fffffffffffffff-1-1-1-1", "ffffffff-0001-0001-0001-000000000001"),
    ],
)
def test_parse_java_uuid_returns_the_canonical_form(text: str, expected: str) -> None:
    assert parse_java_uuid(text) == expected
