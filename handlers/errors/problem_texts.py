"""The texts of problems of web messages, as published by the service that this one replaces."""

from dataclasses import replace

from domain.errors import Violation
from openapi.errors import problem_texts
from openapi.errors.faults import Fault
from openapi.errors.problem_texts import (
    BLANK,
    Texts,
    describe_required_type,
    describe_size,
    describe_type,
    describe_xml_text,
    is_blank,
)

_REFERENCES = "can not be empty or contain elements with empty keys or values"
_NO_UUID = "not a valid UUID"


def build_violation(fault: Fault, prefix: str = "", texts: Texts | None = None) -> Violation | None:
    """Return a fault as a violation, None if it is reported already. `prefix` is put before the field."""
    found = problem_texts.build_violation(fault, prefix, TEXTS if texts is None else texts)
    if found is not None and fault.path and (found.message == _REFERENCES or fault.keyword == "anyOf"):
        return replace(found, field=f"{prefix}externalReferences")
    return found


def _describe_reference(fault: Fault) -> str:
    return _REFERENCES if is_blank(fault.value) else "must not contain U+0000"


def _describe_reference_size(fault: Fault) -> str:
    return _REFERENCES if is_blank(fault.value) else describe_size(3, 128)


def _describe_references_type(fault: Fault) -> str:
    return _REFERENCES if fault.value is None else describe_type(fault)


def _describe_case(fault: Fault) -> str | None:
    value = fault.value.get("value") if isinstance(fault.value, dict) else None
    if not isinstance(value, str) or is_blank(value):
        # The fault of the value itself is reported already.
        return None
    return "element with key 'flowInstanceId' must have value of numeric type"


TEXTS: Texts = {
    ("Idempotency-Key", "pattern"): "must be 1 to 255 printable ASCII characters: a quoted string or a token",
    ("partyId", "pattern"): _NO_UUID,
    ("id", "pattern"): _NO_UUID,
    ("attachmentId", "pattern"): _NO_UUID,
    ("message", "required"): BLANK,
    ("message", "type"): describe_required_type,
    ("message", "pattern"): describe_xml_text,
    ("message", "maxLength"): "must be at most 16777215 bytes of UTF-8",
    ("externalReferences", "required"): _REFERENCES,
    ("externalReferences", "type"): _describe_references_type,
    ("externalReferences", "minItems"): _REFERENCES,
    ("externalReferences", "maxItems"): describe_size(1, 1000),
    ("externalReferences[]", "type"): _describe_references_type,
    ("externalReferences[]", "anyOf"): _describe_case,
    ("externalReferences[].key", "required"): _REFERENCES,
    ("externalReferences[].key", "type"): _describe_references_type,
    ("externalReferences[].key", "pattern"): _describe_reference,
    ("externalReferences[].key", "minLength"): _describe_reference_size,
    ("externalReferences[].key", "maxLength"): describe_size(3, 128),
    ("externalReferences[].value", "required"): _REFERENCES,
    ("externalReferences[].value", "type"): _describe_references_type,
    ("externalReferences[].value", "pattern"): _describe_reference,
    ("externalReferences[].value", "minLength"): _REFERENCES,
    ("externalReferences[].value", "maxLength"): describe_size(1, 128),
    ("sender.userId", "pattern"): describe_xml_text,
    ("sender.userId", "minLength"): BLANK,
    ("sender.userId", "maxLength"): describe_size(1, 255),
    ("attachments", "maxItems"): describe_size(0, 10),
    ("attachments[].fileName", "required"): BLANK,
    ("attachments[].fileName", "type"): describe_required_type,
    ("attachments[].fileName", "pattern"): describe_xml_text,
    ("attachments[].fileName", "minLength"): BLANK,
    ("attachments[].fileName", "maxLength"): describe_size(1, 255),
    ("attachments[].base64Data", "required"): BLANK,
    ("attachments[].base64Data", "type"): describe_required_type,
    ("attachments[].base64Data", "minLength"): BLANK,
    ("key", "minLength"): describe_size(3, 128),
    ("key", "maxLength"): describe_size(3, 128),
    ("value", "minLength"): describe_size(3, 128),
    ("value", "maxLength"): describe_size(3, 128),
    ("after", "pattern"): "not a place in a list that this service gave",
}
"""Texts that the replaced service published, and others that are more precise than the general texts."""
