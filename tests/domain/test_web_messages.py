"""Rules of web messages that the contract cannot express."""

from dataclasses import FrozenInstanceError

import pytest

from domain.errors import Violation
from domain.web_messages import (
    MAX_MESSAGE_BYTES,
    READABLE_STATES,
    UNSETTLED_STATES,
    ExternalReference,
    MessageState,
    normalise_references,
    validate_message,
    validate_references,
)
from tests.factories import build_web_message

CASE = ExternalReference("flowInstanceId", "1068")


def build_references(*pairs: tuple[str, str]) -> list[ExternalReference]:
    return [ExternalReference(key, value) for key, value in pairs]


@pytest.mark.parametrize(
    "key", ["flowInstanceId", "flowinstanceid", "FLOWINSTANCEID", "FlowInstanceID", "fLOWiNSTANCEiD"]
)
def test_normalise_references_recognises_the_case_in_every_spelling(key: str) -> None:
    assert normalise_references(build_references((key, "1068"))) == (CASE,)


@pytest.mark.parametrize(
    "key",
    [
        "flow_instance_id",
        "flowInstanceId ",
        " flowInstanceId",
        "flowInstance",
        "flowInstanceIds",
        "flow\u0131nstanceId",
        "FLOW\u0130NSTANCEID",
        "ﬂowInstanceId",
    ],
)
def test_normalise_references_does_not_change_other_keys(key: str) -> None:
    assert normalise_references(build_references((key, "1068"))) == (ExternalReference(key, "1068"),)


def test_normalise_references_removes_duplicates_in_order() -> None:
    pairs = build_references(
        ("b", "1"), ("FLOWINSTANCEID", "1068"), ("a", "1"), ("b", "1"), ("flowInstanceId", "1068"), ("b", "2")
    )
    expected = build_references(("b", "1"), ("flowInstanceId", "1068"), ("a", "1"), ("b", "2"))
    assert normalise_references(pairs) == tuple(expected)


def test_normalise_references_distinguishes_upper_and_lower_case() -> None:
    pairs = build_references(("errand", "a"), ("Errand", "a"), ("errand", "A"))
    assert normalise_references(pairs) == tuple(pairs)


def test_normalise_references_of_none_is_empty() -> None:
    assert normalise_references([]) == ()


def test_violations_of_references_allows_a_repeated_case() -> None:
    assert validate_references([]) == []
    assert validate_references(build_references(("errand", "1"), ("errand", "2"))) == []
    assert (
        validate_references(build_references(("flowInstanceId", "1"), ("FLOWINSTANCEID", "1"), ("errand", "2"))) == []
    )


@pytest.mark.parametrize("other", ["flowInstanceId", "FLOWINSTANCEID"])
def test_violations_of_references_refuses_two_cases(other: str) -> None:
    expected = [Violation("externalReferences", "must not name more than one 'flowInstanceId'")]
    assert validate_references(build_references(("flowInstanceId", "1"), ("errand", "2"), (other, "2"))) == expected
    assert validate_references(build_references(("flowInstanceId", "1"), (other, "2"), (other, "3"))) == expected


@pytest.mark.parametrize("character", ["a", "ä", "€", "😀"])
def test_violations_of_message_counts_bytes_of_utf8(character: str) -> None:
    size = len(character.encode())
    longest = character * (MAX_MESSAGE_BYTES // size) + "a" * (MAX_MESSAGE_BYTES % size)
    assert len(longest.encode()) == MAX_MESSAGE_BYTES
    assert validate_message(longest) == []
    expected = [Violation("message", "must be at most 16777215 bytes of UTF-8")]
    assert validate_message(longest + "a") == expected


def test_violations_of_message_accepts_short_texts() -> None:
    assert validate_message("a") == []


def test_flow_instance_id_is_the_number_of_the_case() -> None:
    message = build_web_message(
        external_references=(ExternalReference("errand", "7"), ExternalReference("flowInstanceId", "2147483647"))
    )
    assert message.flow_instance_id == 2147483647
    assert build_web_message().flow_instance_id is None


def test_messages_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        build_web_message().message = "another"


def test_each_state_is_unsettled_or_readable() -> None:
    grouped = sorted([*UNSETTLED_STATES, *READABLE_STATES])
    assert grouped == sorted(MessageState), "UNSETTLED_STATES and READABLE_STATES in domain/web_messages.py"
