"""Challenges in `WWW-Authenticate` are parsed as RFC 9110 defines them."""

import pytest

from contract_tests.challenges import Challenge, find_bearer, parse_challenges

KEY = Challenge("apikey", {"header": "apikey"})

WELL_FORMED = {
    "": [],
    "Bearer": [Challenge("bearer")],
    "bearer , ,": [Challenge("bearer")],
    'Bearer, ApiKey header="apikey"': [Challenge("bearer"), KEY],
    'ApiKey header=apikey, Bearer realm="a, b=\\"c\\"" , error = invalid_token': [
        KEY,
        Challenge("bearer", {"realm": 'a, b="c"', "error": "invalid_token"}),
    ],
    "Negotiate YII=, Basic YWJj": [Challenge("negotiate"), Challenge("basic")],
    'Bearer error="insufficient_scope",scope="a b",resource_metadata="https://x.example/a?b=c"': [
        Challenge(
            "bearer",
            {"error": "insufficient_scope", "scope": "a b", "resource_metadata": "https://x.example/a?b=c"},
        )
    ],
}


@pytest.mark.parametrize(("header", "challenges"), WELL_FORMED.items(), ids=WELL_FORMED.keys())
def test_parse_challenges_returns_schemes_and_parameters(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges(header) == challenges


@pytest.mark.parametrize(
    "header",
    [
        "error=x",
        'Bearer error="x',
        'Bearer error="x" scope="y"',
        "Bearer Basic x",
        "Bearer; error=x",
        "Bearer a=b, a=c",
        "Bearer a=b, A=c",
        '"Bearer"',
        "Bearer error=a/b",
    ],
)
def test_parse_challenges_rejects_other_forms(header: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_challenges(header)


def test_find_bearer_returns_the_only_one() -> None:
    assert find_bearer("Basic, Bearer error=x") == Challenge("bearer", {"error": "x"})
    assert find_bearer("Basic") is None
    with pytest.raises(ValueError, match="more than one Bearer challenge"):
        find_bearer("Bearer, Bearer")
