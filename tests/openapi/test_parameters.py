"""Parameters of path, query and headers."""

from typing import Any

import pytest

from domain.errors import Violation
from openapi.errors.problem_texts import build_violation
from openapi.parameters import Parameters

PARAMETERS = Parameters(
    "op",
    [
        {"name": "name", "in": "path", "schema": {"type": "string", "maxLength": 5}},
        {"name": "number", "in": "query", "schema": {"$ref": "#/components/schemas/Number"}},
        {"name": "flag", "in": "query", "schema": {"type": "boolean"}},
        {"name": "text", "in": "query", "schema": {"type": "string"}},
        {"name": "x-request-id", "in": "header", "schema": {"type": "string", "maxLength": 1}},
        {"name": "X-Key", "in": "header", "schema": {"type": "string", "pattern": "^[a-zå]+$"}},
    ],
    {"schemas": {"Number": {"type": "integer", "minimum": -5}}},
    build_violation,
)


def read(query: bytes = b"", name: str = "a") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    values, violations = PARAMETERS.read({"name": name}, query)
    assert all(isinstance(violation, Violation) for violation in violations)
    return values, [(violation.field, violation.message) for violation in violations]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"number=-5", {"number": -5}),
        (b"number=007", {"number": 7}),
        (b"number=-0", {"number": 0}),
        (b"flag=true", {"flag": True}),
        (b"flag=false&number=1", {"flag": False, "number": 1}),
        (b"text=1", {"text": "1"}),
        (b"text=", {"text": ""}),
        (b"text=a+b%20c%2Bd", {"text": "a b c+d"}),
        (b"text=true&", {"text": "true"}),
        (b"te%78t=1", {"text": "1"}),
        (b"text=a=b", {"text": "a=b"}),
        (b"text=a;number=1", {"text": "a;number=1"}),
        (b"text=%C3%A5%F0%9F%98%80", {"text": "å😀"}),
        ("text=å".encode(), {"text": "å"}),
    ],
)
def test_parameters_are_converted_to_their_type(query: bytes, expected: dict[str, Any]) -> None:
    assert read(query) == ({"name": "a", **expected}, [])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"number=-6", "must be at least -5"),
        (b"number=1.0", "must be an integer"),
        (b"number=1_0", "must be an integer"),
        (b"number=0x1", "must be an integer"),
        (b"number=1e1", "must be an integer"),
        (b"number=%201", "must be an integer"),
        (b"number=--1", "must be an integer"),
        (b"number=-", "must be an integer"),
        (b"number=" + b"9" * 100_000, "must be an integer"),
        (b"number=1%00", "must not contain U+0000"),
        (b"number=%ff", "must be UTF-8"),
        (b"number=1&number=1", "must be given only once"),
    ],
)
def test_parameters_report_invalid_integers(query: bytes, message: str) -> None:
    assert read(query)[1] == [("op.number", message)]


@pytest.mark.parametrize("value", [b"True", b"1", b"yes", b""])
def test_parameters_report_invalid_booleans(value: bytes) -> None:
    assert read(b"flag=" + value)[1] == [("op.flag", "must be a boolean")]


@pytest.mark.parametrize("query", [b"text=%ff", b"text=%ed%a0%80", b"text=\xff"])
def test_parameters_refuse_invalid_utf_8(query: bytes) -> None:
    assert read(query)[1] == [("op.text", "must be UTF-8")]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (b"x-request-id=1", "x-request-id"),
        (b"name=1", "name"),
        (b"=1", ""),
        (b"%C3%A5=1", "å"),
        (b"a" * 200, "a" * 100),
    ],
)
def test_parameters_refuse_unknown_query_names(query: bytes, name: str) -> None:
    assert read(query)[1] == [(f"op.{name}", "not a parameter of this operation")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a%2Fb", "a/b"), ("%C3%A5", "å"), ("%25", "%"), ("a+b", "a+b"), ("%F0%9F%98%80%F0%9F%98%80", "😀😀")],
)
def test_parameters_decode_paths_once(name: str, expected: str) -> None:
    assert read(name=name) == ({"name": expected}, [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("%00", "must not contain U+0000"),
        ("%C3", "must be UTF-8"),
        ("%ed%a0%80", "must be UTF-8"),
        ("abcdef", "size must be at most 5"),
    ],
)
def test_parameters_report_faults_of_a_path(name: str, message: str) -> None:
    assert read(name=name)[1] == [("op.name", message)]


def test_parameters_collect_faults_of_path_and_query() -> None:
    _, violations = read(b"number=x&flag=x&text=%00&y=1", name="%C3")
    assert sorted(violations) == [
        ("op.flag", "must be a boolean"),
        ("op.name", "must be UTF-8"),
        ("op.number", "must be an integer"),
        ("op.text", "must not contain U+0000"),
        ("op.y", "not a parameter of this operation"),
    ]


def test_headers_of_the_contract_are_read_and_others_ignored() -> None:
    headers = [(b"x-request-id", b"long"), (b"x-key", b" \ta\xe5 "), (b"x-other", b"1")]
    assert PARAMETERS.read({"name": "a"}, b"", headers) == ({"name": "a", "X-Key": "aå"}, [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([b""], "does not match the pattern in the contract"),
        ([b"1"], "does not match the pattern in the contract"),
        ([b"\xc3\xa5"], "does not match the pattern in the contract"),
        ([b"a", b"a"], "must be given only once"),
        ([b"1", b"1"], "must be given only once"),
    ],
)
def test_invalid_or_repeated_headers_are_faults(values: list[bytes], message: str) -> None:
    _, violations = PARAMETERS.read({"name": "a"}, b"", [(b"x-key", value) for value in values])
    assert [(violation.field, violation.message) for violation in violations] == [("op.X-Key", message)]
