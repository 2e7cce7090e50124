"""Issuers know which values of their claim would grant a scope."""

import pytest

from oauth2.issuers import normalise_type
from tests.tokens import create_issuer

MAP = {
    "all": frozenset({"messages.read", "messages.write", "publish"}),
    "read": frozenset({"messages.read"}),
    "seven": frozenset({"publish:7"}),
    "seven-281": frozenset({"publish:7:281"}),
    "eight": frozenset({"publish:8"}),
}


@pytest.mark.parametrize(
    ("scope", "values"),
    [
        ("messages.read", ["all", "read"]),
        ("messages.write", ["all"]),
        ("publish", ["all"]),
        ("publish:7", ["all", "seven"]),
        ("publish:7:281", ["all", "seven", "seven-281"]),
        ("publish:7:28", ["all", "seven"]),
        ("publish:9:1", ["all"]),
        ("unknown", []),
    ],
)
def test_find_granting_values_includes_wider_scopes(scope: str, values: list[str]) -> None:
    assert create_issuer("https://issuer.example/jwks.json", scope_map=MAP).find_granting_values(scope) == values


def test_normalise_type_removes_the_tree_alone() -> None:
    assert normalise_type("Application/AT+JWT") == "at+jwt"
    assert normalise_type("text/at+jwt") == "text/at+jwt"
