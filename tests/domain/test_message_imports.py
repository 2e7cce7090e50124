"""The rules of imports that need no database."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from domain.message_imports import (
    ImportRules,
    PlannedMessage,
    RemarkKind,
    SourceFile,
    SourceMessage,
    complete,
    plan_import,
)
from domain.municipalities import ServedMunicipalities
from domain.web_messages import OepInstance

RULES = ImportRules(ZoneInfo("Europe/Stockholm"))
SOURCE = SourceMessage(
    id="F0882F1D-06BC-47FD-B017-1D8307F5CE95",
    municipality_id="2281",
    oep_instance="external",
    party_id=None,
    sender_user_id=None,
    created="2024-05-17 10:11:12.123456",
    oep_message_id=7,
    text_bytes=3,
    has_nul=False,
    references=(("errandNumber", "A-17"),),
    files=(SourceFile("9", "a.pdf", None, 8),),
)


def plan(**changes: object) -> PlannedMessage:
    planned, _ = plan_import(replace(SOURCE, **changes), RULES)  # type: ignore[arg-type]  # Fields of `SourceMessage`.
    assert planned is not None
    return planned


@pytest.mark.parametrize(
    ("zone", "created", "stored", "reason"),
    [
        ("Europe/Stockholm", "2024-01-17 10:00:00", "2024-01-17 09:00:00+00:00", None),
        ("Europe/Stockholm", "2024-03-31 01:59:59.999999", "2024-03-31 00:59:59.999999+00:00", None),
        ("Europe/Stockholm", "2024-03-31 02:00:00", "2024-03-31 01:00:00+00:00", "does not exist"),
        ("Europe/Stockholm", "2024-03-31 03:00:00", "2024-03-31 01:00:00+00:00", None),
        ("Europe/Stockholm", "2024-10-27 01:59:59", "2024-10-26 23:59:59+00:00", None),
        ("Europe/Stockholm", "2024-10-27 02:00:00", "2024-10-27 00:00:00+00:00", "occurred twice"),
        ("Europe/Stockholm", "2024-10-27 03:00:00", "2024-10-27 02:00:00+00:00", None),
        ("UTC", "2024-03-31 02:00:00", "2024-03-31 02:00:00+00:00", None),
        ("UTC", "0001-01-01 00:00:00", None, "is the first or the last possible time"),
        ("UTC", "9999-12-31 23:59:59.999999", None, "is the first or the last possible time"),
        ("America/New_York", "9999-12-31 23:59:59", None, "is not a time of the years 1 to 9999"),
    ],
)
def test_created_is_a_time_of_the_zone(zone: str, created: str, stored: str | None, reason: str | None) -> None:
    planned, remarks = plan_import(replace(SOURCE, created=created, files=()), ImportRules(ZoneInfo(zone)))
    assert (str(planned.message.created) if planned else None) == stored
    assert [reason in remark.reason for remark in remarks] == [True] * len(remarks) if reason else remarks == []
    assert bool(remarks) == (reason is not None)


def test_attachments_have_the_same_ids_in_every_run_and_different_ones_in_every_message() -> None:
    messages = [
        complete(plan(**changes), "Hej", {"9": b"%PDF-1.7"}).message
        for changes in ({}, {}, {"id": "0" * 8 + SOURCE.id[8:]})
    ]
    first, second, other = (message.attachments[0] for message in messages)
    assert first.id == second.id != other.id
    assert first.mime_type == "application/pdf"
    assert messages[0].id == SOURCE.id.lower()


def test_id_in_open_e_is_kept_with_a_case_only() -> None:
    assert plan().open_e_message_id is None
    assert plan(references=(("FLOWINSTANCEID", "007"),)).open_e_message_id == 7
    assert plan(references=(("FLOWINSTANCEID", "007"),)).message.flow_instance_id == 7


@pytest.mark.parametrize("given", ["external", "EXTERNAL", "eXternal"])
def test_spelling_of_the_instance_is_kept(given: str) -> None:
    message = plan(oep_instance=given).message
    assert (message.oep_instance, message.oep_instance_as_sent or "external") == (OepInstance.EXTERNAL, given)


def test_message_of_a_municipality_with_its_own_open_e_is_on_a_case_there() -> None:
    rules = replace(RULES, municipalities=ServedMunicipalities(with_own_open_e=frozenset({"2281"})))
    own, _ = plan_import(SOURCE, rules)
    other, _ = plan_import(replace(SOURCE, municipality_id="2260"), rules)
    assert own is not None
    assert other is not None
    assert (own.message.own_open_e, other.message.own_open_e) == ("2281/external", None)


def test_all_remarks_about_a_message_are_reported_together() -> None:
    source = replace(SOURCE, id="1", municipality_id=None, oep_instance=None, party_id="x", created=None, references=())
    planned, remarks = plan_import(source, RULES)
    assert planned is None
    rejected = {remark.field for remark in remarks if remark.kind is RemarkKind.REJECTED}
    assert rejected == {"id", "municipality_id", "oep_instance", "party_id", "created", "external_reference"}
