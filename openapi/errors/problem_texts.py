"""The English texts of problems. A contract may override them."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from domain.errors import Violation
from openapi.errors.faults import Fault, Unreadable

BODY = "body"

BLANK = "must not be blank"
_NOT_XML = "must not contain characters that XML 1.0 does not allow"
_INDEX = re.compile(r"\[\d+\]")

Text = str | Callable[[Fault], str | None]

Texts = Mapping[tuple[str, str], Text]
"""Texts of a contract by field and keyword. Indexes in a field are written as `[]`."""

_NONE: Texts = MappingProxyType({})


def build_violation(fault: Fault, prefix: str = "", texts: Texts = _NONE) -> Violation | None:
    """Return a fault as a violation, None if it is reported already. `prefix` is put before the field."""
    field = _write_field(fault.path)
    general = _INDEX.sub("[]", field)
    text = texts.get((general, fault.keyword), _BY_KEYWORD.get(fault.keyword, "does not conform to the contract"))
    message = text if isinstance(text, str) else text(fault)
    if message is None:
        return None
    return Violation((f"{prefix}{field}" if fault.path else "") or BODY, message)


def list_parse_violations(fault: Unreadable) -> Sequence[Violation]:
    """Return the violations for a body that cannot be parsed."""
    return fault.violations


def is_blank(value: object) -> bool:
    """Return whether a value is a text that consists of white space."""
    # JSON Schema uses the white space of ECMAScript, which includes U+FEFF.
    return isinstance(value, str) and not value.replace("\ufeff", " ").strip()


def describe_size(least: int, most: int) -> str:
    """Return the text for a size outside its limits."""
    return f"size must be between {least} and {most}"


def describe_xml_text(fault: Fault) -> str:
    """Return the text for a value that must not be blank and must be valid in XML."""
    return BLANK if is_blank(fault.value) else _NOT_XML


def describe_type(fault: Fault) -> str:
    """Return the text for a value of the wrong type."""
    return f"must be {' or '.join(_ARTICLES.get(name, name) for name in fault.rule['types'] if name != 'null')}"


def describe_required_type(fault: Fault) -> str:
    """Return the text for a value of the wrong type where null counts as blank."""
    return BLANK if fault.value is None else describe_type(fault)


def _write_field(path: list[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _describe_limit(words: str) -> Callable[[Fault], str]:
    return lambda fault: f"{words} {fault.rule['limit']}"


def _describe_options(fault: Fault) -> str:
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
    "type": describe_type,
    "additionalProperties": "not a property of this object",
    "enum": _describe_options,
    "minLength": _describe_limit("size must be at least"),
    "maxLength": _describe_limit("size must be at most"),
    "minItems": _describe_limit("size must be at least"),
    "maxItems": _describe_limit("size must be at most"),
    "minimum": _describe_limit("must be at least"),
    "maximum": _describe_limit("must be at most"),
    "pattern": "does not match the pattern in the contract",
    "utf-8": "must be UTF-8",
    "nul": "must not contain U+0000",
    "twice": "must be given only once",
    "token": "must have a token after Bearer",
    "unknown": "not a parameter of this operation",
    "many": lambda fault: f"must have at most {fault.rule['limit']} parameters",
}
