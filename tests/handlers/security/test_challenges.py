"""The challenges of RFC 6750 contain only what its grammar allows."""

from handlers.issuers import build_metadata_url
from handlers.security.challenges import MAX_SCOPES, BearerError, build_bearer_challenge

URL = "https://budkavle.example/.well-known/oauth-protected-resource"


def test_build_bearer_challenge_omits_what_is_unknown() -> None:
    assert build_bearer_challenge(None) == 'Bearer realm="budkavle"'
    assert build_bearer_challenge(URL) == f'Bearer realm="budkavle", resource_metadata="{URL}"'


def test_build_bearer_challenge_has_all_parameters() -> None:
    challenge = build_bearer_challenge(URL, BearerError.INSUFFICIENT_SCOPE, "No scope", ["a", "b:c/d"])
    assert challenge == (
        'Bearer realm="budkavle", error="insufficient_scope", error_description="No scope", scope="a b:c/d",'
        f' resource_metadata="{URL}"'
    )


def test_build_bearer_challenge_replaces_characters_outside_the_grammar() -> None:
    challenge = build_bearer_challenge(None, BearerError.INVALID_TOKEN, 'the claim "a\\b" \u2013 å\r\nX: y')
    assert challenge == 'Bearer realm="budkavle", error="invalid_token", error_description="the claim ?a?b? ? ???X: y"'


def test_build_bearer_challenge_omits_texts_that_are_no_scopes() -> None:
    challenge = build_bearer_challenge(None, scopes=["two words", 'a"b', "ok", "", "å"])
    assert challenge == 'Bearer realm="budkavle", scope="ok"'


def test_build_bearer_challenge_limits_the_scopes() -> None:
    """Behind nginx, a response with larger headers than one memory page would become a 502."""
    half = MAX_SCOPES // 2
    exact = [half * "a", (MAX_SCOPES - half - 1) * "b"]
    joined = " ".join(exact)
    assert len(joined) == MAX_SCOPES
    for scopes in (exact, [*exact, "c"], [*exact, 200 * "c", "d"]):
        assert build_bearer_challenge(None, scopes=scopes) == f'Bearer realm="budkavle", scope="{joined}"'
    assert build_bearer_challenge(None, scopes=[exact[0], MAX_SCOPES * "b"]).endswith(f'scope="{exact[0]}"')
    assert build_bearer_challenge(None, scopes=[(MAX_SCOPES + 1) * "a", "b"]) == 'Bearer realm="budkavle"'


def test_build_metadata_url_inserts_the_path_before_that_of_the_resource() -> None:
    assert build_metadata_url("https://budkavle.example") == URL
    assert build_metadata_url("https://budkavle.example/") == URL
    assert build_metadata_url("https://budkavle.example:8443/a/b?c=d") == (
        "https://budkavle.example:8443/.well-known/oauth-protected-resource/a/b?c=d"
    )
