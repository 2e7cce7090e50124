"""Untrusted JSON, in one chunk and in many."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import RunningService
from domain.attachments import MAX_ATTACHMENT_BYTES, Content, read_base64
from domain.errors import Invalid, TooLarge
from openapi.bodies.json_reader import (
    LONG_TEXT_BYTES,
    MAX_REST_BYTES,
    MAX_RUN,
    MAX_SKELETON_BYTES,
    MAX_VALUES,
    JsonReader,
    PlainJsonReader,
    decode,
)
from tests.factories import build_message_body
from tests.handlers.messages import read_violations

NOT_BASE64 = "must be base64, padded and without line breaks"
NO_LIFTED: Mapping[str, Content] = {}


def read(pieces: Iterable[bytes]) -> tuple[Any, dict[str, Content]]:
    reader = JsonReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.finish(), reader.contents


def resolve_contents(value: Any, contents: Mapping[str, Content] = NO_LIFTED) -> Any:
    """Return a decoded value with every text of a base64Data replaced by its content or fault."""
    if isinstance(value, dict):
        return {
            name: get_content_or_fault(contents.get(inner) or read_base64(inner))
            if name == "base64Data" and isinstance(inner, str) and inner
            else resolve_contents(inner, contents)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [resolve_contents(inner, contents) for inner in value]
    return value


def get_content_or_fault(content: Content) -> tuple[bytes, str | None]:
    return (b"", content.fault) if content.fault else (content.data, None)


def split(text: bytes, size: int) -> list[bytes]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def get_fault(error: Invalid) -> str:
    (violation,) = error.violations
    assert violation.field == "body"
    return violation.message


TEXT = json.dumps(
    {
        "base64Data": "not in a file, but contents all the same",
        "text": 'quotes " and \\ backslashes \\" and "base64Data": "YQ=="',
        "attachments": [
            {"fileName": "base64Data", "base64Data": base64.b64encode(bytes(range(256))).decode()},
            {"base64Data": "", "fileName": "åäö 😀"},
            {"base64Data": ["YQ=="], "deeper": {"base64Data": None}},
            {"base64Data": "YQ"},
        ],
    },
    indent=1,
).encode()


def test_json_reader_is_independent_of_the_chunk_size() -> None:
    expected = resolve_contents(decode(TEXT))
    for size in range(1, len(TEXT) + 1):
        value, contents = read(split(TEXT, size))
        assert resolve_contents(value, contents) == expected, size
        assert len(contents) == 3


def test_json_reader_is_independent_of_the_split() -> None:
    expected = resolve_contents(decode(TEXT))
    for place in range(len(TEXT) + 1):
        value, contents = read([TEXT[:place], TEXT[place:]])
        assert resolve_contents(value, contents) == expected, place


NAMES = st.sampled_from(["base64Data", "base64data", 'base64Data"', "base64Data\\", "fileName", "", "ä😀"])
BASE64 = st.one_of(
    st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()), st.text('AZaz09+/= \n"\\ä', max_size=12)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), BASE64, st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner | BASE64, max_size=4)),
    max_leaves=20,
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Generate JSON in all spellings: white space, escapes of slashes and of letters."""
    text = json.dumps(
        draw(VALUES),
        ensure_ascii=draw(st.booleans()),
        separators=(
            draw(st.sampled_from([",", " ,\n"])),
            draw(st.sampled_from([":", " :\t", " " * 40 + ":" + " " * 40])),
        ),
    )
    if draw(st.booleans()):
        text = text.replace("/", "\\/")
    if draw(st.booleans()):
        text = text.replace("A", "\\u0041")
    if draw(st.booleans()):
        text = text.replace("base64Data", "base64D\\u0061ta", 1)
    return text.encode()


@settings(max_examples=150, deadline=None)
@given(text=texts(), data=st.data())
def test_json_reader_agrees_with_decode_on_random_chunks(text: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    value, contents = read(pieces)
    assert resolve_contents(value, contents) == resolve_contents(decode(text))


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(texts().map(lambda text: text[:-1]), st.binary(max_size=60)), size=st.integers(1, 9))
def test_json_reader_refuses_what_decode_refuses(text: bytes, size: int) -> None:
    try:
        expected = resolve_contents(decode(text))
    except Invalid:
        with pytest.raises(Invalid):
            read(split(text, size))
    else:
        value, contents = read(split(text, size))
        assert resolve_contents(value, contents) == expected


@pytest.mark.parametrize("inner", [b'null,"fileName":"a"', b'["a"]', b'"YQ=="', b'{"fileName":"a"}'])
@pytest.mark.parametrize("blanks", [0, 1, 30, 63, 64, 65, 1000])
def test_json_reader_reads_any_white_space_around_a_colon(inner: bytes, blanks: int) -> None:
    """The random test once found that a name after many blanks was parsed as the value of base64Data."""
    text = b'{"base64Data"%s:%s%s}' % (b" " * blanks, b" " * blanks, inner)
    for size in (7, len(text)):
        value, contents = read(split(text, size))
        assert resolve_contents(value, contents) == resolve_contents(decode(text))


@pytest.mark.parametrize(
    "escaped",
    [rb"\u0053GVsbG8K", rb"SGVsbG8\u004B", rb"SGVsbG8\u004b", rb"\u0053\u0047\u0056\u0073\u0062\u0047\u0038\u004b"],
)
def test_json_reader_decodes_escapes_in_base64(escaped: bytes) -> None:
    text = b'{"base64Data":"%s"}' % escaped
    for place in range(len(text)):
        value, contents = read([text[:place], text[place:]])
        content = contents[value["base64Data"]]
        assert get_content_or_fault(content) == (b"Hello\n", None)
        assert content.sha256 == hashlib.sha256(b"Hello\n").hexdigest()


@pytest.mark.parametrize(
    "wrong", [rb"YQ=\n", rb"\"YQ=", rb"\u00e5YQ=", rb"YQ==\u0020", rb"\ud83d\ude00==", rb"YQ\u003dY", b"\xc3\xa5Q=="]
)
def test_json_reader_refuses_escapes_that_are_not_base64(wrong: bytes) -> None:
    text = b'{"base64Data":"%s"}' % wrong
    for place in range(len(text)):
        value, contents = read([text[:place], text[place:]])
        assert get_content_or_fault(contents[value["base64Data"]]) == (b"", NOT_BASE64)


@pytest.mark.parametrize("escape", [rb"\x", rb"\u12", rb"\uzzzz"])
def test_json_reader_refuses_invalid_escapes(escape: bytes) -> None:
    value, contents = read([b'{"base64Data":"%s"}' % escape])
    assert get_content_or_fault(contents[value["base64Data"]]) == (b"", NOT_BASE64)


@pytest.mark.parametrize("name", [rb"base64D\u0061ta", rb"\u0062ase64Data"])
def test_json_reader_leaves_a_property_with_an_escaped_name_in_the_value(name: bytes) -> None:
    value, contents = read([b'{"%s":"SGVsbG8K"}' % name])
    assert value == {"base64Data": "SGVsbG8K"}
    assert contents == {}


def test_json_reader_refuses_a_duplicate_property() -> None:
    with pytest.raises(Invalid) as caught:
        read([b'{"base64Data":"YQ==","base64Data":"YQ=="}'])
    assert get_fault(caught.value) == "must not contain a property twice in one object"


def test_json_reader_uses_unpredictable_placeholders() -> None:
    tokens = {token for _ in range(3) for token in read([b'[{"base64Data":"YQ=="}]'])[1]}
    assert len(tokens) == 3
    assert all(len(token) > 16 for token in tokens)


def test_json_reader_measures_a_file_of_10_mib_and_discards_larger_ones() -> None:
    exact = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES))
    more = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES + 1))
    value, contents = read(split(b'[{"base64Data":"%s"},{"base64Data":"%s"}]' % (exact, more), 1_000_000))
    first, second = (contents[item["base64Data"]] for item in value)
    assert (len(first.data), first.fault) == (MAX_ATTACHMENT_BYTES, None)
    assert (len(second.data), second.fault) == (0, f"must be at most {MAX_ATTACHMENT_BYTES} bytes")


def test_json_reader_limits_the_bytes_next_to_base64() -> None:
    reader = JsonReader()
    reader.feed(b'{"message":"')
    reader.feed(b"a" * (MAX_SKELETON_BYTES - 20))
    with pytest.raises(TooLarge, match=f"at most {MAX_SKELETON_BYTES} bytes"):
        reader.feed(b"a" * 40)


def test_json_reader_limits_the_number_of_values() -> None:
    reader = JsonReader()
    with pytest.raises(Invalid) as caught:
        reader.feed(b"[" + b"0," * (MAX_VALUES + 1))
    assert get_fault(caught.value) == f"must contain at most {MAX_VALUES} strings, commas and opening brackets"


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"null", None), (b" [1, 1.5, -0] ", [1, 1.5, 0]), (b'"\\ud83d\\ude00"', "😀"), (b'"\\\\ud800"', "\\ud800")],
)
def test_decode_accepts_only_strict_json(text: bytes, value: Any) -> None:
    assert decode(text) == value


@pytest.mark.parametrize("depth", [63, 64])
def test_decode_accepts_nesting_up_to_its_limit(depth: int) -> None:
    assert decode(b"[" * depth + b"]" * depth)
    with pytest.raises(Invalid):
        decode(b'{"a":' * 65 + b"1" + b"}" * 65)


def test_decode_accepts_any_number_of_brackets_in_texts_and_in_sequence() -> None:
    value = {"text": "[{" * 100, "beside": [[], {}] * 100}
    assert decode(json.dumps(value).encode()) == value


def test_placeholders_never_leak(contract: RunningService) -> None:
    """Generate large bodies with base64Data in invalid places."""
    filler = "x" * 2_000_000
    value = base64.b64encode(b"secret" * 1000).decode()
    for changes, expected in (
        ({"base64Data": value}, [("base64Data", "not a property of this object")]),
        ({"partyId": {"base64Data": value}}, [("partyId", "must be a string")]),
        ({"sender": {"base64Data": value}}, [("sender.base64Data", "not a property of this object")]),
        ({"attachments": [{"base64Data": value}]}, [("attachments[0].fileName", "must not be blank")]),
    ):
        response = contract.client.post("/webmessages", json=build_message_body(message=filler) | changes)
        assert read_violations(response) == expected


def test_large_body_is_stored_like_a_small_one(contract: RunningService) -> None:
    attachments = [
        {"fileName": "small", "base64Data": "YQ=="},
        {"fileName": "large", "base64Data": base64.b64encode(bytes(range(256)) * 8192).decode()},
    ]
    body = build_message_body(message='"base64Data": "YQ==" \\', attachments=attachments)
    location = contract.client.post("/webmessages", json=body).headers["location"]
    value = contract.client.get(location).json()
    assert value["message"] == body["message"]
    assert [item["base64Data"] for item in value["attachments"]] == [item["base64Data"] for item in attachments]


def test_large_body_with_an_escaped_name_of_base64_data_is_accepted(contract: RunningService) -> None:
    text = json.dumps(
        build_message_body(message="x" * 2_000_000, attachments=[{"fileName": "a", "base64Data": "YQ=="}])
    )
    response = contract.client.post("/webmessages", content=text.replace("base64Data", "base64D\\u0061ta").encode())
    assert response.status_code == 201, response.text
    assert contract.client.get(response.headers["location"]).json()["attachments"][0]["base64Data"] == "YQ=="


LONG = 'A text, with letters of two bytes (æ), three (€) and four (😀), \\ and " and \n. '
REPEATED = LONG_TEXT_BYTES // len(LONG) + 2


@pytest.mark.parametrize("ensure_ascii", [True, False], ids=["escaped", "UTF-8"])
def test_json_reader_decodes_long_texts(*, ensure_ascii: bool) -> None:
    # Texts of different lengths, so that chunks end at each position of an escape.
    value = {
        "message": LONG * REPEATED,
        "list": ["x" + LONG * REPEATED, {"y": "xy\\" + LONG * REPEATED}],
        "short": LONG,
    }
    text = json.dumps(value, ensure_ascii=ensure_ascii).encode()
    assert read(split(text, 1_000_000))[0] == value
    pairs = {"😀" * place: "x" * place + "😀" * LONG_TEXT_BYTES for place in range(3)}
    assert read(split(json.dumps(pairs, ensure_ascii=ensure_ascii).encode(), 1_000_000))[0] == pairs


def test_json_reader_decodes_long_names_of_properties() -> None:
    value = {"x" * (LONG_TEXT_BYTES + 1): 1, "y": "z" * (LONG_TEXT_BYTES + 1)}
    assert read(split(json.dumps(value).encode(), 1_000_000))[0] == value


INVALID_LONG_TEXT = (
    f"must be JSON: a text of more than {LONG_TEXT_BYTES} bytes contains an invalid escape or an unescaped control "
    "character"
)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"\\ud83d", "must not contain an unpaired surrogate"),
        (b"\\ude00", "must not contain an unpaired surrogate"),
        (b"\\ud83dx", "must not contain an unpaired surrogate"),
        (b"\xff", "must be JSON in UTF-8"),
        (b"\xe2\x82", "must be JSON in UTF-8"),
        (b"\x01", INVALID_LONG_TEXT),
        (b"\\x", INVALID_LONG_TEXT),
        (b"\\u12", INVALID_LONG_TEXT),
    ],
)
def test_json_reader_refuses_invalid_long_texts(bad: bytes, message: str) -> None:
    for before in (LONG_TEXT_BYTES, LONG_TEXT_BYTES * 2 - 3):
        for after in (b"", b"x" * LONG_TEXT_BYTES):
            with pytest.raises(Invalid) as caught:
                read([b'{"message":"' + b"a" * before + bad + after + b'"}'])
            assert get_fault(caught.value) == message


def test_json_reader_limits_the_bytes_next_to_long_texts() -> None:
    reader = JsonReader()
    reader.feed(b'{"message":"' + b"a" * (MAX_REST_BYTES + 1) + b'"')
    with pytest.raises(TooLarge, match=f"at most {MAX_REST_BYTES} bytes"):
        reader.feed(b" " * MAX_REST_BYTES)


ENTRY = {"name": 'a text, with [ { } ] and "quotes" \\', "path": "/a,b,c", "": "", "list": [], "number": 1}
PLAIN = json.dumps({"entries": [ENTRY] * 2000}).encode()


@pytest.mark.parametrize("size", [7, 1000, len(PLAIN)])
def test_plain_json_reader_accepts_any_number_of_entries(size: int) -> None:
    assert read_plain(split(PLAIN * 1, size)) == {"entries": [ENTRY] * 2000}


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":[' + b"1," * MAX_RUN + b"1]}",
        b"[" + b"[]," * MAX_RUN + b"[]]",
        b"{" + b'"}":1,' * MAX_RUN + b'"b":1}',
        b"{" + b'"\\"}":1,' * MAX_RUN + b'"b":1}',
        b'["\\\\",' + b'"{}",' * MAX_RUN + b"1]",
        b"[{}," + b'"}\\\\",' * MAX_RUN + b"1]",
    ],
    ids=["numbers", "lists", "names", "escaped names", "texts", "texts with escapes"],
)
@pytest.mark.parametrize("size", [999, 1_000_000])
def test_plain_json_reader_refuses_values_that_would_block_the_parser(text: bytes, size: int) -> None:
    with pytest.raises(Invalid) as caught:
        read_plain(split(text, size))
    assert get_fault(caught.value) == f"must contain at most {MAX_RUN} values between the ends of two objects"


def read_plain(pieces: Iterable[bytes]) -> Any:
    reader = PlainJsonReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()
