"""Callers and the grammar of scopes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.callers import ANONYMOUS, Caller, CallerKind, check_caller_name, parse_scope


def build_caller(*scopes: str) -> Caller:
    return Caller(CallerKind.KEY, "caller", frozenset().union(*map(parse_scope, scopes)))


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("messages", {"messages.read", "messages.write"}),
        ("messages.read", {"messages.read"}),
        ("messages.write", {"messages.write"}),
        ("publish", {"publish"}),
        ("publish:0", {"publish:0"}),
        ("publish:2147483647", {"publish:2147483647"}),
        ("publish:8:101", {"publish:8:101"}),
        ("publish:8:-1", {"publish:8:-1"}),
        ("publish:8:99999999", {"publish:8:99999999"}),
    ],
)
def test_parse_scope_returns_canonical_scopes(text: str, scopes: set[str]) -> None:
    assert parse_scope(text) == scopes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Messages",
        "messages ",
        "messages.",
        "messages.delete",
        "messages:1",
        "publish:",
        "publish:x",
        "publish:-1",
        "publish:08",
        "publish:+8",
        "publish:٨",
        "publish:2147483648",
        "publish:8:",
        "publish:8:-2",
        "publish:8:-0",
        "publish:8:0101",
        "publish:8:100000000",
        "publish:8:101:1",
        "publish:8\n",
        "publish:*",
        "publish:" + "9" * 5000,
    ],
)
def test_parse_scope_rejects_other_texts(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a scope: use one of messages, messages\.read, .*ORGCODE") as caught:
        parse_scope(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("messages",), {"messages.read", "messages.write"}),
        (("messages.read",), {"messages.read"}),
        (("messages.write", "publish"), {"messages.write", "publish"}),
        (("publish:8",), {"publish"}),
        (("publish:8:101",), {"publish"}),
        ((), set()),
    ],
)
def test_may_includes_limited_rights(scopes: tuple[str, ...], allowed: set[str]) -> None:
    caller = build_caller(*scopes)
    assert {scope for scope in ("messages.read", "messages.write", "publish") if caller.may(scope)} == allowed
    assert not caller.may("messages")


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("publish",), {(8, 101), (8, 1), (8, -1), (81, 101), (1, 8)}),
        (("publish:8",), {(8, 101), (8, 1), (8, -1)}),
        (("publish:8:101",), {(8, 101)}),
        (("publish:8:-1", "publish:1"), {(8, -1), (1, 8)}),
        (("messages",), set()),
    ],
)
def test_may_publish_respects_the_limits(scopes: tuple[str, ...], allowed: set[tuple[int, int]]) -> None:
    caller = build_caller(*scopes)
    pairs = [(8, 101), (8, 1), (8, -1), (81, 101), (1, 8)]
    assert {pair for pair in pairs if caller.may_publish(*pair)} == allowed


def test_anonymous_caller_has_no_rights() -> None:
    assert not any(ANONYMOUS.may(scope) for scope in ("messages.read", "messages.write", "publish"))
    assert not ANONYMOUS.may_publish(8, 101)
    assert not ANONYMOUS.systems


ORG_TYPES, ORG_CODES = st.integers(0, 2**31 - 1), st.integers(-1, 99_999_999)


@given(ORG_TYPES, ORG_CODES, ORG_TYPES, ORG_CODES)
def test_every_subject_of_the_contract_has_a_scope(org_type: int, org_code: int, other_type: int, other: int) -> None:
    one, all_of_type = build_caller(f"publish:{org_type}:{org_code}"), build_caller(f"publish:{org_type}")
    assert one.may_publish(org_type, org_code)
    assert one.may_publish(other_type, other) == ((other_type, other) == (org_type, org_code))
    assert all_of_type.may_publish(other_type, other) == (other_type == org_type)


@given(st.text())
def test_parse_scope_raises_only_value_errors(text: str) -> None:
    for candidate in (text, f"publish:{text}", f"publish:8:{text}"):
        try:
            assert parse_scope(candidate) == {candidate}
        except ValueError:
            continue


@pytest.mark.parametrize("name", ["case-system", "a:b", "åke 'quoted'", "https://issuer.example", "SHA256"])
def test_check_caller_name_accepts_names(name: str) -> None:
    check_caller_name(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "a\nb", "\x00", "https://issuer.example#client", "#", "sha256:ab", "ip:192.0.2.1", "-", "*", "a%23b"],
)
def test_check_caller_name_rejects_names_of_other_callers_and_blank_ones(name: str) -> None:
    with pytest.raises(ValueError, match="must not"):
        check_caller_name(name)
