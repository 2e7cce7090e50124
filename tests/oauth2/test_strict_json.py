"""JSON that parsers understand in different ways is rejected."""

import pytest

from oauth2.strict_json import parse_object


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"{}", {}),
        (b' {"a" : [1, -2.5, true, null, "\\u00e9\xc3\xa9"]}\n', {"a": [1, -2.5, True, None, "éé"]}),
        (b'{"a":9999999999999999}', {"a": 9999999999999999}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a":' + b"[" * 15 + b"]" * 15 + b"}", None),
        (b'{"a":[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]}', None),
    ],
)
def test_strict_json_is_decoded(text: bytes, value: object) -> None:
    found = parse_object(text)
    assert value is None or found == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
        (b"{'a':1}", "Expecting property name"),
        (b'{"a":1,}', "Expecting property name"),
        (b'{"a":01}', "Expecting ',' delimiter"),
        (b'{"a":"\t"}', "Invalid control character"),
        (b"[]", "not an object"),
        (b'"{}"', "not an object"),
        (b'{"a":1,"a":1}', "duplicate name"),
        (b'{"a":{"b":1,"\\u0062":2}}', "duplicate name"),
        (b'{"a":NaN}', "not a number"),
        (b'{"a":-Infinity}', "not a number"),
        (b'{"a":1e400}', "number out of range"),
        (b'{"a":12345678901234567}', "integer out of range"),
        (b'{"a":' + b"9" * 5000 + b"}", "integer out of range"),
        (b'{"a":"\\ud800"}', "surrogates not allowed"),
        (b'{"\\udc00":1}', "surrogates not allowed"),
        (b'{"a":"\xff"}', "can't decode"),
        (b"\xff\xfe{\0}\0", "can't decode"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a":' + b"[" * 16 + b"]" * 16 + b"}", "nested too deeply"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
    ids=range(24),
)
def test_ambiguous_json_is_rejected(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_object(text)
