"""Invalid messages: a change of a valid one, and the expected faults."""

from typing import Any

from tests.handlers.messages import create_id

REFERENCES = "can not be empty or contain elements with empty keys or values"
NUMERIC = "element with key 'flowInstanceId' must have value of numeric type"
NOT_XML = "must not contain characters that XML 1.0 does not allow"
NOT_BASE64 = "must be base64, padded and without line breaks"
REFERENCE = {"key": "errand", "value": "1"}
FILE = {"fileName": "a.txt", "base64Data": "YQ=="}


def build_case(value: Any) -> dict[str, Any]:
    return {"externalReferences": [{"key": "flowInstanceId", "value": value}]}


FAULTS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("party-not-uuid", {"partyId": "invalid"}, [("partyId", "not a valid UUID")]),
    ("party-blank", {"partyId": ""}, [("partyId", "not a valid UUID")]),
    ("party-without-dashes", {"partyId": "8147122257981 1e9ae2457fa13b361e1"}, [("partyId", "not a valid UUID")]),
    ("party-in-braces", {"partyId": "{81471222-5798-11e9-ae24-57fa13b361e1}"}, [("partyId", "not a valid UUID")]),
    (
        "party-with-line-break",
        {"partyId": "81471222-5798-11e9-ae24-57fa13b361e1\n"},
        [("partyId", "not a valid UUID")],
    ),
    ("party-number", {"partyId": 1}, [("partyId", "must be a string")]),
    ("message-empty", {"message": ""}, [("message", "must not be blank")]),
    ("message-spaces", {"message": " \t\r\n"}, [("message", "must not be blank")]),
    ("message-no-break-space", {"message": "\u00a0\u2003"}, [("message", "must not be blank")]),
    ("message-number", {"message": 1}, [("message", "must be a string")]),
    ("message-nul", {"message": "a\0b"}, [("message", NOT_XML)]),
    ("message-control", {"message": "a\x0bb"}, [("message", NOT_XML)]),
    ("message-escape", {"message": "\x1b"}, [("message", NOT_XML)]),
    ("message-noncharacter", {"message": "a\uffff"}, [("message", NOT_XML)]),
    ("references-empty", {"externalReferences": []}, [("externalReferences", REFERENCES)]),
    ("references-text", {"externalReferences": "x"}, [("externalReferences", "must be an array")]),
    ("reference-text", {"externalReferences": ["x"]}, [("externalReferences[0]", "must be an object")]),
    ("reference-empty", {"externalReferences": [{}]}, [("externalReferences", REFERENCES)]),
    ("reference-null", {"externalReferences": [None]}, [("externalReferences", REFERENCES)]),
    ("reference-no-value", {"externalReferences": [{"key": "errand"}]}, [("externalReferences", REFERENCES)]),
    ("reference-no-key", {"externalReferences": [{"value": "1"}]}, [("externalReferences", REFERENCES)]),
    (
        "reference-blank-value",
        {"externalReferences": [REFERENCE, {"key": "errand", "value": " "}]},
        [("externalReferences", REFERENCES)],
    ),
    (
        "reference-blank-key",
        {"externalReferences": [{"key": "    ", "value": "1"}]},
        [("externalReferences", REFERENCES)],
    ),
    (
        "reference-empty-key",
        {"externalReferences": [{"key": "", "value": "1"}]},
        [("externalReferences", REFERENCES)],
    ),
    (
        "reference-null-value",
        {"externalReferences": [{"key": "errand", "value": None}]},
        [("externalReferences", REFERENCES)],
    ),
    (
        "reference-short-key",
        {"externalReferences": [REFERENCE, {"key": "ab", "value": "1"}]},
        [("externalReferences[1].key", "size must be between 3 and 128")],
    ),
    (
        "reference-long-key",
        {"externalReferences": [{"key": "k" * 129, "value": "1"}]},
        [("externalReferences[0].key", "size must be between 3 and 128")],
    ),
    (
        "reference-long-value",
        {"externalReferences": [{"key": "errand", "value": "v" * 129}]},
        [("externalReferences[0].value", "size must be between 1 and 128")],
    ),
    (
        "reference-number",
        {"externalReferences": [{"key": "errand", "value": 1}]},
        [("externalReferences[0].value", "must be a string")],
    ),
    (
        "reference-nul",
        {"externalReferences": [{"key": "a\0bc", "value": "\0"}]},
        [
            ("externalReferences[0].key", "must not contain U+0000"),
            ("externalReferences[0].value", "must not contain U+0000"),
        ],
    ),
    (
        "reference-unknown-property",
        {"externalReferences": [REFERENCE | {"keyy": "1"}]},
        [("externalReferences[0].keyy", "not a property of this object")],
    ),
    *(
        (f"case-{value[:12]!a}", build_case(value), [("externalReferences", NUMERIC)])
        for value in (
            "abc",
            "0",
            "-1",
            "+1",
            "01",
            "1.0",
            "1e3",
            " 1068",
            "1068 ",
            "1068\n",
            "2147483648",
            "9999999999",
            "12345678901",
            "\uff11\uff10\uff16\uff18",
            "356t4r34f",
        )
    ),
    (
        "case-other-spelling",
        {"externalReferences": [{"key": "FlowInstanceID", "value": "x"}]},
        [("externalReferences", NUMERIC)],
    ),
    ("case-blank", build_case(" "), [("externalReferences", REFERENCES)]),
    ("case-integer", build_case(1068), [("externalReferences[0].value", "must be a string")]),
    (
        "two-cases",
        {"externalReferences": [{"key": "flowInstanceId", "value": "1"}, {"key": "FLOWINSTANCEID", "value": "2"}]},
        [("externalReferences", "must not name more than one 'flowInstanceId'")],
    ),
    ("sender-text", {"sender": "joe"}, [("sender", "must be an object")]),
    ("sender-unknown", {"sender": {"userID": "joe"}}, [("sender.userID", "not a property of this object")]),
    ("user-empty", {"sender": {"userId": ""}}, [("sender.userId", "must not be blank")]),
    ("user-blank", {"sender": {"userId": "  "}}, [("sender.userId", "must not be blank")]),
    ("user-long", {"sender": {"userId": "u" * 256}}, [("sender.userId", "size must be between 1 and 255")]),
    ("user-control", {"sender": {"userId": "a\x01"}}, [("sender.userId", NOT_XML)]),
    ("instance-unknown", {"oepInstance": "EXTERNAL"}, [("oepInstance", "must be one of internal, external")]),
    (
        "instance-number",
        {"oepInstance": 1},
        [("oepInstance", "must be a string"), ("oepInstance", "must be one of internal, external")],
    ),
    ("attachments-object", {"attachments": {}}, [("attachments", "must be an array")]),
    ("attachments-eleven", {"attachments": [FILE] * 11}, [("attachments", "size must be between 0 and 10")]),
    ("attachment-null", {"attachments": [FILE, None]}, [("attachments[1]", "must be an object")]),
    (
        "attachment-empty",
        {"attachments": [{}]},
        [("attachments[0].base64Data", "must not be blank"), ("attachments[0].fileName", "must not be blank")],
    ),
    (
        "attachment-null-properties",
        {"attachments": [{"fileName": None, "base64Data": None}]},
        [("attachments[0].base64Data", "must not be blank"), ("attachments[0].fileName", "must not be blank")],
    ),
    ("file-name-empty", {"attachments": [FILE | {"fileName": ""}]}, [("attachments[0].fileName", "must not be blank")]),
    (
        "file-name-blank",
        {"attachments": [FILE | {"fileName": " "}]},
        [("attachments[0].fileName", "must not be blank")],
    ),
    (
        "file-name-long",
        {"attachments": [FILE, FILE | {"fileName": "n" * 256}]},
        [("attachments[1].fileName", "size must be between 1 and 255")],
    ),
    ("file-name-control", {"attachments": [FILE | {"fileName": "a\0.txt"}]}, [("attachments[0].fileName", NOT_XML)]),
    ("file-name-number", {"attachments": [FILE | {"fileName": 1}]}, [("attachments[0].fileName", "must be a string")]),
    (
        "attachment-unknown-property",
        {"attachments": [FILE | {"filename": "a"}]},
        [("attachments[0].filename", "not a property of this object")],
    ),
    ("data-empty", {"attachments": [FILE | {"base64Data": ""}]}, [("attachments[0].base64Data", "must not be blank")]),
    *(
        (f"data-{name}", {"attachments": [FILE | {"base64Data": text}]}, [("attachments[0].base64Data", NOT_BASE64)])
        for name, text in {
            "wrong-character": "YQ!=",
            "url-alphabet": "-_-_",
            "unpadded": "YQ",
            "half-padded": "YQ=",
            "after-padding": "YQ==YQ==",
            "only-padding": "====",
            "line-break": "YWJj\r\nYWJj",
            "blank": " YQ==",
            "not-ascii": "YQ=ä",
            "bits-beyond": "data:,a",
        }.items()
    ),
    ("unknown-property", {"partyID": "x"}, [("partyID", "not a property of this object")]),
    ("read-only-property", {"id": create_id()}, [("id", "not a property of this object")]),
]
