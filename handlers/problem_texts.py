"""What is wrong with a request, in the English of problems: web messages and operations."""

import re
from collections.abc import Callable, Sequence

from domain.errors import Violation
from handlers.faults import Fault, Unreadable

BODY = "body"

_REFERENCES = "can not be empty or contain elements with empty keys or values"
_NO_UUID = "not a valid UUID"
_BLANK = "must not be blank"
_NOT_XML = "must not contain characters that XML 1.0 does not allow"
_INDEX = re.compile(r"\[\d+\]")

Text = str | Callable[[Fault], str | None]


def violation(fault: Fault, prefix: str = "") -> Violation | None:
    """A fault in words; `prefix` stands before the field. None for what is said already."""
    field = _field(fault.path)
    general = _INDEX.sub("[]", field)
    text = _TEXTS.get((general, fault.keyword), _BY_KEYWORD.get(fault.keyword, "does not fit the contract"))
    message = text if isinstance(text, str) else text(fault)
    if message is None:
        return None
    if message == _REFERENCES or fault.keyword == "anyOf":
        field = "externalReferences"
    return Violation((f"{prefix}{field}" if fault.path else "") or BODY, message)


def unreadable(fault: Unreadable) -> Sequence[Violation]:
    """A body that cannot be read, in words."""
    return fault.violations


def _field(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _of_text(fault: Fault) -> str:
    """A text that must not be blank and must fit XML."""
    return _BLANK if _is_blank(fault.value) else _NOT_XML


def _of_reference(fault: Fault) -> str:
    return _REFERENCES if _is_blank(fault.value) else "must not contain U+0000"


def _size_of_reference(fault: Fault) -> str:
    return _REFERENCES if _is_blank(fault.value) else _size(3, 128)


def _type(fault: Fault) -> str:
    return f"must be {' or '.join(_ARTICLES.get(name, name) for name in fault.rule['types'] if name != 'null')}"


def _type_of_required_text(fault: Fault) -> str:
    return _BLANK if fault.value is None else _type(fault)


def _type_of_references(fault: Fault) -> str:
    return _REFERENCES if fault.value is None else _type(fault)


def _of_case(fault: Fault) -> str | None:
    value = fault.value.get("value") if isinstance(fault.value, dict) else None
    if not isinstance(value, str) or _is_blank(value):
        # Said already, of the value itself.
        return None
    return "element with key 'flowInstanceId' must have value of numeric type"


def _is_blank(value: object) -> bool:
    # JSON Schema's white space is that of ECMAScript, where U+FEFF is some.
    return isinstance(value, str) and not value.replace("\ufeff", " ").strip()


def _size(least: int, most: int) -> str:
    return f"size must be between {least} and {most}"


def _limit(words: str) -> Callable[[Fault], str]:
    return lambda fault: f"{words} {fault.rule['limit']}"


def _options(fault: Fault) -> str:
    return f"must be one of {', '.join(option for option in fault.rule['options'] if option is not None)}"


_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
}

_BY_KEYWORD: dict[str, Text] = {
    "required": "is required",
    "type": _type,
    "additionalProperties": "not a property of this object",
    "enum": _options,
    "minLength": _limit("size must be at least"),
    "maxLength": _limit("size must be at most"),
    "minItems": _limit("size must be at least"),
    "maxItems": _limit("size must be at most"),
    "minimum": _limit("must be at least"),
    "maximum": _limit("must be at most"),
    "pattern": "does not have the form that the contract asks for",
    "utf-8": "must be UTF-8",
    "nul": "must not contain U+0000",
    "twice": "must be given once",
    "unknown": "not a parameter of this operation",
    "many": lambda fault: f"more than {fault.rule['limit']} parameters",
}

_TEXTS: dict[tuple[str, str], Text] = {
    ("partyId", "pattern"): _NO_UUID,
    ("id", "pattern"): _NO_UUID,
    ("attachmentId", "pattern"): _NO_UUID,
    ("message", "required"): _BLANK,
    ("message", "type"): _type_of_required_text,
    ("message", "pattern"): _of_text,
    ("message", "maxLength"): "must be at most 16777215 bytes of UTF-8",
    ("externalReferences", "required"): _REFERENCES,
    ("externalReferences", "type"): _type_of_references,
    ("externalReferences", "minItems"): _REFERENCES,
    ("externalReferences", "maxItems"): _size(1, 1000),
    ("externalReferences[]", "type"): _type_of_references,
    ("externalReferences[]", "anyOf"): _of_case,
    ("externalReferences[].key", "required"): _REFERENCES,
    ("externalReferences[].key", "type"): _type_of_references,
    ("externalReferences[].key", "pattern"): _of_reference,
    ("externalReferences[].key", "minLength"): _size_of_reference,
    ("externalReferences[].key", "maxLength"): _size(3, 128),
    ("externalReferences[].value", "required"): _REFERENCES,
    ("externalReferences[].value", "type"): _type_of_references,
    ("externalReferences[].value", "pattern"): _of_reference,
    ("externalReferences[].value", "minLength"): _REFERENCES,
    ("externalReferences[].value", "maxLength"): _size(1, 128),
    ("sender.userId", "pattern"): _of_text,
    ("sender.userId", "minLength"): _BLANK,
    ("sender.userId", "maxLength"): _size(1, 255),
    ("attachments", "maxItems"): _size(0, 10),
    ("attachments[].fileName", "required"): _BLANK,
    ("attachments[].fileName", "type"): _type_of_required_text,
    ("attachments[].fileName", "pattern"): _of_text,
    ("attachments[].fileName", "minLength"): _BLANK,
    ("attachments[].fileName", "maxLength"): _size(1, 255),
    ("attachments[].base64Data", "required"): _BLANK,
    ("attachments[].base64Data", "type"): _type_of_required_text,
    ("attachments[].base64Data", "minLength"): _BLANK,
    ("key", "minLength"): _size(3, 128),
    ("key", "maxLength"): _size(3, 128),
    ("value", "minLength"): _size(3, 128),
    ("value", "maxLength"): _size(3, 128),
    ("after", "pattern"): "not a place in a list that this service gave",
}
"""Texts that the service we replace has published, and others where the general text would not help."""
