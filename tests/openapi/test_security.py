"""All credentials of a request are verified, and combined to one caller."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from connexion.resolver import Resolver
from connexion.security import AbstractSecurityHandler
from connexion.spec import Specification
from starlette.types import Scope

from domain.callers import Caller, CallerKind
from domain.errors import BudkavleError, Forbidden, LacksScope, RefusalReason, TooManyFailures, Unauthenticated
from openapi.observation.peers import PEER
from openapi.observation.source_limits import FailureLimit
from openapi.requests import CALLER
from openapi.security import SecurityMiddleware, Verify

EITHER = [{"Left": []}, {"Right": []}]
BOTH = [{"Left": []}, {"Left": [], "Right": []}]
SCHEMES = {
    "Left": {"type": "apiKey", "in": "header", "name": "left"},
    "Right": {"type": "http", "scheme": "bearer"},
}


def build_handler(header: bytes) -> type[AbstractSecurityHandler]:
    """Return a scheme that accepts `good` in a header, and counts its calls in the scope."""

    class Handler(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion has no types.
        def get_fn(self, _security_scheme: dict[str, Any], _required_scopes: list[str]) -> Verify:
            async def verify(scope: Scope) -> str | None:
                scope["verified"].append(header)
                value = dict(scope["headers"]).get(header)
                if value not in {None, b"good"}:
                    raise Unauthenticated(RefusalReason.UNKNOWN_KEY, header.decode())
                return value and header.decode()

            return verify

    return Handler


def combine(alternatives: Sequence[frozenset[str]], found: Mapping[str, Any]) -> Caller:
    if not any(alternative <= found.keys() for alternative in alternatives):
        raise Unauthenticated(RefusalReason.NO_KEY, "none is complete")
    return Caller(CallerKind.KEY, "+".join(f"{scheme}:{result}" for scheme, result in found.items()))


def build_challenges(alternatives: Sequence[frozenset[str]], error: BudkavleError, _scope: Scope) -> tuple[str, ...]:
    return (f"{type(error).__name__} {'|'.join(map('+'.join, map(sorted, alternatives)))}",)


def call(
    security: list[dict[str, Any]],
    failures: FailureLimit | None = None,
    refusal: BudkavleError | None = None,
    **headers: bytes,
) -> Scope:
    """Call an operation with this security, and return the scope that its handler received, which raises `refusal`."""
    spec = {
        "openapi": "3.0.3",
        "info": {"title": "Things", "version": "1"},
        "paths": {
            "/things": {
                "get": {"operationId": "listThings", "security": security, "responses": {"200": {"description": "OK"}}}
            }
        },
        "components": {"securitySchemes": SCHEMES},
    }
    received: list[Scope] = []

    async def handle(scope: Scope, _receive: Any, _send: Any) -> None:
        received.append(scope)
        if refusal is not None:
            raise refusal

    async def unused(*_args: Any) -> Any:
        raise AssertionError

    api = SecurityMiddleware(handle).add_api(
        Specification.load(spec),
        resolver=Resolver(lambda _name: handle),
        security_map={"apiKey": build_handler(b"left"), "bearer": build_handler(b"right")},
        combine=combine,
        build_challenges=build_challenges,
        failures=failures or FailureLimit(100),
    )
    scope = {
        "type": "http",
        "headers": [(k.encode(), v) for k, v in headers.items()],
        "verified": [],
        PEER: "192.0.2.1",
    }
    asyncio.run(api.operations["listThings"](scope, unused, unused))
    assert received == [scope]
    return scope


@pytest.mark.parametrize(
    ("security", "headers", "name"),
    [
        (EITHER, {"left": b"good"}, "Left:left"),
        (EITHER, {"right": b"good"}, "Right:right"),
        (EITHER, {"left": b"good", "right": b"good"}, "Left:left+Right:right"),
        (BOTH, {"left": b"good"}, "Left:left"),
        (BOTH, {"left": b"good", "right": b"good"}, "Left:left+Right:right"),
    ],
)
def test_all_good_credentials_are_combined(security: Any, headers: dict[str, bytes], name: str) -> None:
    scope = call(security, **headers)
    assert scope[CALLER].name == name
    assert scope["verified"] == [b"left", b"right"]


@pytest.mark.parametrize("security", [EITHER, BOTH])
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"left": b"bad"}, "left"),
        ({"left": b"bad", "right": b"good"}, "left"),
        ({"left": b"good", "right": b"bad"}, "right"),
        ({"left": b"bad", "right": b"bad"}, "left"),
    ],
)
def test_one_bad_credential_is_rejected_even_with_a_good_one(
    security: Any, headers: dict[str, bytes], text: str
) -> None:
    with pytest.raises(Unauthenticated, match=text):
        call(security, **headers)


@pytest.mark.parametrize(("security", "headers"), [(EITHER, {}), (BOTH, {}), (BOTH, {"right": b"good"})])
def test_incomplete_credentials_are_left_to_combine(security: Any, headers: dict[str, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="none is complete"):
        call(security, **headers)


def test_failures_are_counted_by_source() -> None:
    failures = FailureLimit(1, clock=lambda: 0.0)
    with pytest.raises(Unauthenticated):
        call(EITHER, failures)
    with pytest.raises(TooManyFailures):
        call(EITHER, failures, left=b"bad")
    assert call(EITHER, failures, left=b"good")[CALLER].name == "Left:left"


def test_operation_without_security_verifies_nothing() -> None:
    scope = call([], left=b"bad")
    assert scope["verified"] == []
    assert CALLER not in scope


def test_scheme_without_a_handler_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "Right", {"type": "http", "scheme": "digest"})
    with pytest.raises(ValueError, match="no security handler for the scheme Right"):
        call(EITHER, left=b"good")


@pytest.mark.parametrize("headers", [{}, {"left": b"bad"}, {"left": b"good", "right": b"bad"}])
def test_rejection_has_the_challenges_of_the_operation(headers: dict[str, bytes]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        call(BOTH, None, None, **headers)
    assert caught.value.challenges == ("Unauthenticated Left|Left+Right",)


def test_missing_scope_has_the_challenges_of_the_operation() -> None:
    refusal = LacksScope(RefusalReason.KEY_LACKS_SCOPE)
    with pytest.raises(LacksScope):
        call(EITHER, None, refusal, left=b"good")
    assert refusal.challenges == ("LacksScope Left|Right",)


def test_other_errors_have_no_challenges() -> None:
    for refusal in (Forbidden(RefusalReason.SYSTEM_NOT_AUTHORISED), BudkavleError()):
        with pytest.raises(type(refusal)):
            call(EITHER, None, refusal, left=b"good")
        assert refusal.challenges == ()
    limit = FailureLimit(0)
    with pytest.raises(TooManyFailures) as caught:
        call(EITHER, limit)
    assert caught.value.challenges == ()
