"""Paths and fields that the log may contain."""

import pytest

from budkavle.specs import find_spec_dir
from domain.errors import Violation
from handlers.contracts import CONTRACTS
from openapi.application import read_spec
from openapi.observation.log_names import LogNames

NAMES = LogNames([read_spec(find_spec_dir(), name) for name in CONTRACTS])


@pytest.mark.parametrize(
    ("raw_path", "logged"),
    [
        ("/webmessages", "/webmessages"),
        ("/webmessages/", "/webmessages/"),
        ("/webmessages/recipients/81471222-5798-11e9-ae24-57fa13b361e1?limit=1", "/webmessages/recipients/*"),
        ("/webmessages/7/attachments/8", "/webmessages/*/attachments/*"),
        ("/web%6Dessages/a%2Fwebmessages", "/webmessages/*"),
        ("/api/v1/abonnement/010190-1234", "/*/v1/abonnement/*"),
        ("/Webmessages", "/*"),
        ("/\u00e5", "/*"),
        ("//", "//"),
        ("*", "*"),
        ("/a" * 13, "/*" * 11 + "/…"),
    ],
)
def test_path_shows_only_names_of_the_contracts(raw_path: str, logged: str) -> None:
    assert NAMES.redact_path(raw_path.encode()) == logged


@pytest.mark.parametrize(
    ("fields", "logged"),
    [
        (["message", "attachments[0].fileName", "attachments[7].fileName"], ["attachments[].fileName", "message"]),
        (["body", "limit", "partyId"], ["body", "limit", "partyId"]),
        (
            ["010190-1234", "sender.anna.userId", "externalReferences[1].x"],
            ["*", "externalReferences[].*", "sender.*.userId"],
        ),
        ([f"x{number}" for number in range(1000)], ["*"]),
    ],
)
def test_fields_show_only_names_of_the_contracts(fields: list[str], logged: list[str]) -> None:
    assert NAMES.list_fields(Violation(field, "m") for field in fields) == logged
